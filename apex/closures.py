"""What becomes of chat completions when an organization is deleted. Those that run when it is closed may end."""

import time

from accounts.closures import Part
from accounts.models import Organization
from apex.models import Completion, State

DELETE_BATCH_SIZE = 500


def delete(organization: Organization, *, ends_at: float) -> bool:
    """Delete completions that have ended. Returns whether none is left; the ledger keeps their charges."""
    completions = Completion.objects.of(organization)
    while ids := list(completions.exclude(state=State.RUNNING).values_list("pk", flat=True)[:DELETE_BATCH_SIZE]):
        Completion.objects.filter(pk__in=ids).delete()
        if time.monotonic() >= ends_at:
            return False
    return not completions.exists()


PART = Part(name="apex", delete=delete)
