"""What several people do at once to one transcript, as work for `contend`."""

import uuid
from collections.abc import Callable

from django.db import connection

from accounts.errors import NotFound
from accounts.models import User
from transcription import jobs
from transcription.jobs import Edit
from transcription.models import JobItem


def save(item_id: uuid.UUID, user_id: int, worker: int) -> list[int]:
    """Correct the first sentence, as somebody who has read the original."""
    edits = [Edit(0, 0, f"text of worker {worker}")]
    return jobs.revise(JobItem.objects.get(pk=item_id), edits=edits, by=User.objects.get(pk=user_id))


def save_alone(item_id: uuid.UUID, user_id: int) -> str:
    """Correct the first sentence while a test holds rows. Returns why that was refused."""
    return _refusal(lambda: save(item_id, user_id, 0))


def name_alone(item_id: uuid.UUID, user_id: int) -> str:
    """Name the first speaker while a test holds rows. Returns why that was refused."""
    return _refusal(lambda: jobs.name_speaker(JobItem.objects.get(pk=item_id), speaker="S1", name="Anna"))


def _refusal(act: Callable[[], object]) -> str:
    try:
        act()
    except NotFound as error:
        return error.message
    finally:
        connection.close()
    return ""
