"""Reads what people corrected in the result of an item. `editing` writes it."""

from transcription.models import JobItem, SegmentRevision, SpeakerName
from transcription.speech.correcting import Corrections, Revision


def of(item: JobItem) -> Corrections:
    """Return all corrections of an item. Asks the database only if there are any."""
    if item.corrected_at is None:
        return Corrections()
    rows = SegmentRevision.objects.filter(item=item).order_by("segment", "number")
    # The last one of each segment holds.
    revisions = {
        segment: Revision(number=number, text=text, speaker=speaker or None)
        for segment, number, text, speaker in rows.values_list("segment", "number", "text", "speaker")
    }
    voices = list(SpeakerName.objects.filter(item=item).order_by("pk"))
    return Corrections(
        revisions=revisions,
        names={voice.speaker: voice.name for voice in voices if voice.name},
        merged={voice.speaker: voice.merged_into for voice in voices if voice.merged_into},
    )
