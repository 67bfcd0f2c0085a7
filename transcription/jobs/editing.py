"""Corrects results: text, and who speaks. The stored result stays as it is; corrections are rows beside it.

Decision 61 says why. Every verb locks the job and the item, so that two people who correct one recording take turns.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone

from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import User
from transcription.jobs import corrections, lifecycle, results, search
from transcription.models import JobItem, SegmentRevision, SpeakerName
from transcription.speech import correcting
from transcription.speech.correcting import Corrections, Revision
from transcription.speech.transcript import Transcript, speaker_id

# Of one segment. Recognised ones have a few hundred.
MAX_TEXT_CHARACTERS = 5_000
# A segment may grow to so many times its characters, and some more: every read compares its words with the new ones.
MAX_GROWTH, MAX_ADDED_CHARACTERS = 3, 200
MAX_NAME_CHARACTERS = 80
# In one save: "replace all" in a very long transcript.
MAX_EDITS = 5_000
MAX_SPEAKERS = 100
_NUMBERED = re.compile(r"S(\d{1,9})")
_BREAKS = re.compile("[\\t\\n\\v\\f\\r\\x1c-\\x1e\\x85\\u2028\\u2029]+")


@dataclass(frozen=True, slots=True)
class Edit:
    """A new text of a segment. version: how often the segment had been corrected when the person read it."""

    segment: int
    version: int
    text: str


def revise(item: JobItem, *, edits: Sequence[Edit], by: User) -> list[int]:
    """Save new texts of segments, all or none.

    Returns the indexes of segments that were corrected by somebody else since they were read; then nothing is saved.
    Raises InvalidField for a segment that does not exist or a text that is too long, and as `original_of_item`.
    """
    original = results.original_of_item(item)
    texts = {edit.segment: _cleaned(edit.text) for edit in edits}
    if len(texts) != len(edits) or not 0 < len(edits) <= MAX_EDITS:
        raise InvalidField("edits", f"Send 1 to {MAX_EDITS} segments, each once.")
    if not all(0 <= edit.segment < len(original.segments) for edit in edits):
        raise InvalidField("segment", "The transcript has no such sentence.")
    if any(len(text) > _max_characters(original.segments[segment].text) for segment, text in texts.items()):
        raise InvalidField("text", "A sentence has become too long.")
    with _locked(item) as locked:
        known = corrections.of(locked)
        current = {segment: _current(original, known, segment) for segment in texts}
        stale = [edit.segment for edit in edits if edit.version != current[edit.segment].number]
        if not stale:
            _write(
                locked,
                [
                    (segment, Revision(number=revision.number + 1, text=texts[segment], speaker=revision.speaker))
                    for segment, revision in current.items()
                    if texts[segment] != _cleaned(revision.text)
                ],
                by=by,
            )
            _record_words(locked, original)
    return stale


def name_speaker(item: JobItem, *, speaker: str, name: str) -> None:
    """Give a speaker a name; an empty one gives back the usual label. Raises InvalidField for an unknown speaker."""
    cleaned = " ".join(_cleaned(name).split())
    if len(cleaned) > MAX_NAME_CHARACTERS:
        raise InvalidField("name", f"A name has at most {MAX_NAME_CHARACTERS} characters.")
    original = results.original_of_item(item)
    with _locked(item) as locked:
        _require_speakers(original, corrections.of(locked), speaker)
        SpeakerName.objects.update_or_create(item=locked, speaker=speaker, defaults={"name": cleaned})


def merge_speakers(item: JobItem, *, speaker: str, into: str) -> None:
    """Make all words of one speaker those of another. `separate_speaker` undoes it.

    Raises InvalidField for an unknown speaker, and Conflict if both are one already.
    """
    original = results.original_of_item(item)
    with _locked(item) as locked:
        known = corrections.of(locked)
        _require_speakers(original, known, speaker, into)
        one, other = known.speaker_of(speaker), known.speaker_of(into)
        assert one is not None, "it was named"
        assert other is not None, "it was named"
        if one == other:
            raise Conflict("These are one speaker already.")
        SpeakerName.objects.update_or_create(item=locked, speaker=one, defaults={"merged_into": other})


def separate_speaker(item: JobItem, *, speaker: str) -> None:
    """Give a speaker who was merged into another one their words back. Changes nothing for one who was not."""
    with _locked(item) as locked:
        SpeakerName.objects.filter(item=locked, speaker=speaker).update(merged_into="")


def move(item: JobItem, *, segments: Sequence[int], speaker: str, by: User) -> str:
    """Make segments those of another speaker, or of a new one if `speaker` is empty. Returns the id of the speaker.

    Raises InvalidField for an unknown segment or speaker, or for too many speakers.
    """
    original = results.original_of_item(item)
    if not segments or not all(0 <= segment < len(original.segments) for segment in segments):
        raise InvalidField("segments", "The transcript has no such sentence.")
    with _locked(item) as locked:
        known = corrections.of(locked)
        if speaker:
            _require_speakers(original, known, speaker)
        target = known.speaker_of(speaker) if speaker else _new_speaker(locked, original, known)
        assert target is not None, "a speaker was named or made"
        current = {segment: _current(original, known, segment) for segment in dict.fromkeys(segments)}
        _write(
            locked,
            [
                (segment, Revision(number=revision.number + 1, text=revision.text, speaker=target))
                for segment, revision in current.items()
                if known.speaker_of(revision.speaker) != target
            ],
            by=by,
        )
    return target


@contextmanager
def _locked(item: JobItem) -> Iterator[JobItem]:
    """Lock the item and its job in a transaction, and note that it is corrected."""
    # The job first, as everywhere: deleting does, and a search text that is inserted locks its job too.
    with lifecycle.lock_job(item.job_id):
        locked = JobItem.objects.select_for_update().filter(pk=item.pk).first()
        if locked is None:
            raise NotFound("Transcript not found.")
        if locked.corrected_at is None:
            locked.corrected_at = timezone.now()
            locked.save(update_fields=["corrected_at"])
        yield locked


def _write(item: JobItem, revisions: Sequence[tuple[int, Revision]], *, by: User) -> None:
    SegmentRevision.objects.bulk_create(
        [
            SegmentRevision(
                item=item,
                segment=segment,
                number=revision.number,
                text=revision.text,
                speaker=revision.speaker or "",
                created_by=by,
            )
            for segment, revision in revisions
        ],
        batch_size=500,
    )


def _record_words(item: JobItem, original: Transcript) -> None:
    """Have the job found by the words that are there now."""
    now = correcting.without_empty(correcting.corrected(original, corrections.of(item)))
    search.replace_transcript(item, stretches=search.stretches(now))


def _current(original: Transcript, known: Corrections, segment: int) -> Revision:
    """Return the last revision of a segment, or the original as number 0."""
    if segment in known.revisions:
        return known.revisions[segment]
    return Revision(number=0, text=original.segments[segment].text, speaker=original.segments[segment].speaker)


def _speakers(original: Transcript, known: Corrections) -> set[str]:
    """Return the ids of all speakers that there are or were."""
    found = {speaker for speaker, _ in original.speakers}
    return found | {revision.speaker for revision in known.revisions.values() if revision.speaker is not None}


def _require_speakers(original: Transcript, known: Corrections, *speakers: str) -> None:
    if not _speakers(original, known).issuperset(speakers):
        raise InvalidField("speaker", "The transcript has no such speaker.")


def _new_speaker(item: JobItem, original: Transcript, known: Corrections) -> str:
    """Return an id that no speaker of the item ever had: an abandoned one may still have a name, or be merged."""
    found = _speakers(original, known)
    if len(found) >= MAX_SPEAKERS:
        raise InvalidField("speaker", f"A transcript has at most {MAX_SPEAKERS} speakers.")
    found |= set(SegmentRevision.objects.filter(item=item).values_list("speaker", flat=True).distinct())
    for pair in SpeakerName.objects.filter(item=item).values_list("speaker", "merged_into"):
        found |= set(pair)
    return speaker_id(max((int(match[1]) for match in map(_NUMBERED.fullmatch, found) if match), default=0))


def _max_characters(original: str) -> int:
    return min(MAX_TEXT_CHARACTERS, MAX_GROWTH * len(original) + MAX_ADDED_CHARACTERS)


def _cleaned(text: str) -> str:
    """Return the text in one line, without control characters, which databases and subtitles do not take.

    Other blanks stay as they are, such as those that do not break a line.
    """
    parts = ("".join(char for char in part if unicodedata.category(char) != "Cc") for part in _BREAKS.split(text))
    return " ".join(filter(None, (part.strip(" ") for part in parts)))
