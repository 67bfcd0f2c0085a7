"""What the contending workers of test_charging do: several show the text of one item while another one ends it."""

import uuid

from transcription import jobs
from transcription.jobs.charging import TextMeter
from transcription.models import JobItem
from transcription.speech.transcript import Segment

# The item is ended once so much was shown, so that all workers are in the middle of it.
END_AFTER_MS = 30_000
# Every step costs more than the one before.
STEP_MS = 1_000


def show_or_end(how: str, item_id: uuid.UUID, worker: int) -> int:
    """Show text step by step until it must not be shown, and return the price of the last that was. Worker 0 ends it.

    how: "cancel", "delete" or "reject".
    """
    item = JobItem.objects.select_related("job", "media").get(pk=item_id)
    if worker == 0:
        _end(how, item)
        return 0
    meter = TextMeter(item)
    paid_micros = 0
    for end_ms in range(STEP_MS, item.recording.duration_ms, STEP_MS):
        meter.add(Segment(0, end_ms, "text", (), None))
        price_micros = meter.price_micros
        if not jobs.record_shown(item_id, length_ms=meter.length_ms, price_micros=price_micros):
            break
        # From here on the text is out.
        paid_micros = price_micros
    return paid_micros


def _end(how: str, item: JobItem) -> None:
    while JobItem.objects.values_list("shown_ms", flat=True).get(pk=item.pk) < END_AFTER_MS:
        pass
    if how == "reject":
        jobs.reject_item(item, error_type="length_mismatch", message="Longer than it says.")
    else:
        {"cancel": jobs.cancel, "delete": jobs.delete}[how](item.job)
