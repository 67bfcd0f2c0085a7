"""The download of all that an organization has. Gate, query, render."""

from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST

from accounts import access, audit_log
from accounts.decorators import page
from accounts.errors import Conflict
from accounts.gate import concurrency, limits, shared_slots
from accounts.models import AuditAction, Role
from accounts.streaming import asynchronously
from transcription.pages import exports

# The kind of open request, and how many of an organization are answered at a time: each holds the names of its files in
# memory.
SLOTS = "exports"
MAX_OPEN = 1


@page
@require_POST
def export(request: HttpRequest) -> HttpResponseBase:
    """Send everything as a ZIP archive. For admins, who see the members, keys and ledger that are in it."""
    organization = access.require_role(request, Role.ADMIN).organization
    slot = concurrency.slot_of_request()
    if not shared_slots.acquire(slot, kind=SLOTS, organization_id=organization.pk, limit=MAX_OPEN):
        raise Conflict("Your organization is downloading everything already. Try again when that download has ended.")
    limits.spend(organization, scope="exports")
    audit_log.record(organization, AuditAction.DATA_EXPORTED)
    parts = _until_its_end(asynchronously(exports.zip_of(organization)), slot=slot)
    response = StreamingHttpResponse(parts, content_type="application/zip")
    response["Content-Disposition"] = content_disposition_header(True, f"voxsite-{timezone.now():%Y-%m-%d}.zip")
    return response


async def _until_its_end(parts: AsyncIterator[bytes], *, slot: concurrency.ConcurrencySlot) -> AsyncIterator[bytes]:
    """Yield the parts, and release the slot before the client can see that they ended."""
    try:
        async for part in parts:
            yield part
    finally:
        slot.release()
