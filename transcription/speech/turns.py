"""The transcript as people read it: turns, paragraphs of a few sentences, and where each word stands. Pure."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transcription.speech import scripts, search_words
from transcription.speech import waveform as waveforms
from transcription.speech.transcript import Segment, Transcript, join_segments

# A paragraph ends at the first end of a sentence from this many columns on: about four lines of the page.
PARAGRAPH_COLUMNS = 280
# Without such an end it ends here.
MAX_PARAGRAPH_COLUMNS = 700
# A speaker who pauses for so long begins a new paragraph.
PARAGRAPH_PAUSE_MS = 4_000
# Words that the engine thinks less likely are marked, so that a reader checks them.
LOW_PROBABILITY = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One segment on the page. number: its index in the transcript. words: as `word_places` writes them.

    version: how often it was corrected.
    has_space_before: whether a blank separates it from the line before it in the paragraph.
    found: what a search found in it, as `with_found` writes it. found_number: among the lines with something, from 1.
    """

    number: int
    version: int
    start_ms: int
    text: str
    words: str
    has_space_before: bool
    found: str = ""
    found_number: int = 0


def speakers(transcript: Transcript) -> list[dict[str, Any]]:
    """Return the speakers in order of first appearance.

    position: from 0, for the color. id: in the transcript. name: what people read. ms: milliseconds spoken.
    """
    positions = _positions(transcript)
    return [
        {"position": positions[speaker], "id": speaker, "name": transcript.label_of(speaker), "ms": ms}
        for speaker, ms in transcript.speakers
    ]


def waveform(transcript: Transcript) -> dict[str, Any] | None:
    """Return the drawing of how loud a recording is, in the colors of its speakers; None for a result without it.

    width: of the view. bars: list of (position of the speaker or None, path of an SVG).
    """
    if not transcript.peaks:
        return None
    positions = _positions(transcript)
    spoken = [
        (segment.start_ms, segment.end_ms, positions[segment.speaker])
        for segment in transcript.segments
        if segment.speaker is not None
    ]
    bars = waveforms.bars_of(transcript.peaks, duration_ms=transcript.duration_ms, spoken=sorted(spoken))
    return {"width": len(transcript.peaks), "bars": bars}


def paragraphs(transcript: Transcript, *, versions: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
    """Return the text in paragraphs of a few sentences, each of one speaker.

    versions: how often a segment was corrected, by its index, of those that were. They are there without a text too.

    is_turn: whether its speaker begins to talk here. lines: list of `Line`, one for each segment with text.
    direction: "rtl" for a paragraph in a script that is written from right to left, else "ltr".
    """
    positions = _positions(transcript)
    made: list[dict[str, Any]] = []
    before: str | None = None
    versions = versions or {}
    for numbered in _paragraphs(transcript, kept=versions):
        segments = [segment for _, segment in numbered]
        text, speaker = text_of(segments), segments[0].speaker
        made.append(
            {
                "start_ms": segments[0].start_ms,
                "text": text,
                "direction": "rtl" if scripts.is_right_to_left(text) else "ltr",
                "speaker": speaker,
                "position": positions.get(speaker or ""),
                "name": transcript.label_of(speaker) if speaker else "",
                "is_turn": not made or speaker != before,
                "lines": _lines(numbered, versions=versions),
            }
        )
        before = speaker
    return made


def with_found(paragraphs: Sequence[dict[str, Any]], *, phrases: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Return paragraphs whose lines say where phrases of a search stand in them, and how many such places there are.

    A place is written "first,end" in UTF-16 units of the line's text; places are separated by blanks.
    """
    if not phrases:
        return list(paragraphs), 0
    lines = [line for paragraph in paragraphs for line in paragraph["lines"]]
    found = search_words.places([line.text for line in lines], phrases)
    written: dict[int, list[str]] = {}
    for place in found:
        for part in place:
            text = lines[part.text].text
            written.setdefault(part.text, []).append(f"{_units(text[: part.first])},{_units(text[: part.end])}")
    numbers = {at: number for number, at in enumerate(sorted(written), start=1)}
    marked = iter(
        replace(line, found=" ".join(written.get(at, ())), found_number=numbers.get(at, 0))
        for at, line in enumerate(lines)
    )
    return [paragraph | {"lines": [next(marked) for _ in paragraph["lines"]]} for paragraph in paragraphs], len(found)


def turns_of(transcript: Transcript) -> list[list[Segment]]:
    """Return the segments with text, those of one turn together: neighbors of the same speaker."""
    found: list[list[Segment]] = []
    for segment in transcript.segments:
        if not segment.text.strip():
            continue
        if found and segment.speaker is not None and segment.speaker == found[-1][0].speaker:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def clock(ms: int) -> str:
    """Return a position or a length as 0:07 or 1:02:03."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def text_of(turn: Sequence[Segment]) -> str:
    """Return the text of the segments of a turn."""
    return join_segments(turn).strip()


def word_places(segment: Segment) -> str:
    """Return where the words of a segment stand in its text, and when they are spoken, for the page's script.

    Words are separated by blanks. Each is "skipped,length,pause,spoken" or "skipped,length,pause,spoken,percent":
    UTF-16 units between it and the word before it, its length in them, milliseconds since that word ended (or since
    the segment began), its own milliseconds, and its probability if that is below `LOW_PROBABILITY`.
    """
    text, written = segment.text, []
    at, now_ms = 0, segment.start_ms
    for word in segment.words:
        found = text.find(word.text, at) if word.text else -1
        if found < 0:
            continue
        skipped, length = _units(text[at:found]), _units(word.text)
        numbers = [skipped, length, word.start_ms - now_ms, word.end_ms - word.start_ms]
        if word.probability < LOW_PROBABILITY:
            numbers.append(round(word.probability * 100))
        written.append(",".join(map(str, numbers)))
        at, now_ms = found + len(word.text), word.end_ms
    return " ".join(written)


def _paragraphs(transcript: Transcript, *, kept: Container[int]) -> Iterator[list[tuple[int, Segment]]]:
    """Yield the segments of each paragraph, with their indexes in the transcript.

    kept: indexes of segments that are there without a text too.
    """
    now: list[tuple[int, Segment]] = []
    columns = 0
    for number, segment in enumerate(transcript.segments):
        if not segment.text.strip() and number not in kept:
            continue
        if now and (segment.speaker != now[-1][1].speaker or _is_full(now[-1][1], columns, after=segment)):
            yield now
            now, columns = [], 0
        now.append((number, segment))
        columns += scripts.columns(segment.text)
    if now:
        yield now


def _is_full(last: Segment, columns: int, *, after: Segment) -> bool:
    """Tell whether a paragraph of so many columns ends between two segments of one speaker."""
    if after.start_ms - last.end_ms >= PARAGRAPH_PAUSE_MS or columns >= MAX_PARAGRAPH_COLUMNS:
        return True
    return columns >= PARAGRAPH_COLUMNS and last.text.rstrip("\"'”’»)]").endswith(scripts.SENTENCE_ENDS)


def _lines(numbered: Sequence[tuple[int, Segment]], *, versions: Mapping[int, int]) -> list[Line]:
    made: list[Line] = []
    before = ""
    for number, segment in numbered:
        is_apart = segment.words[0].has_space_before if segment.words else scripts.needs_blank(before, segment.text)
        made.append(
            Line(
                number=number,
                version=versions.get(number, 0),
                start_ms=segment.start_ms,
                text=segment.text,
                words=word_places(segment),
                has_space_before=bool(made) and is_apart,
            )
        )
        before = segment.text
    return made


def _positions(transcript: Transcript) -> dict[str, int]:
    """Return the place of each speaker in the order of colors, from 0: that of its id, so that a merge changes none."""
    return {
        speaker: int(speaker[1:]) - 1 if speaker[:1] == "S" and speaker[1:].isdecimal() else order
        for order, (speaker, _) in enumerate(transcript.speakers)
    }


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
