"""SubRip: numbered cues. The format has no escapes, but players read "<i>" as a tag and "-->" as a time line.

FFmpeg, and the players that read by it, also take what is in braces for a command, and "\\N" for the end of a line
(findings/subrip-braces-are-commands.sh).
"""

from __future__ import annotations

from transcription.speech.formats.cues import Cue, NameOf, cues, timestamp
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript

# Players lay SubRip out from left to right, whatever the first letter is. An embedding turns the line, as Subtitle Edit
# does it; isolates are unknown to older ones.
_EMBEDDING, _END = "\N{RIGHT-TO-LEFT EMBEDDING}", "\N{POP DIRECTIONAL FORMATTING}"
# What looks alike and is no markup. A backslash is parted from the letter behind it by a mark that is not seen.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")", "\\": "\\\N{WORD JOINER}"})


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return the cues as UTF-8 SubRip, each with the name of its speaker first unless the options say no."""
    made = cues(transcript, options=options, name_of=_namer(transcript) if options.speaker_labels else None)
    return "\n".join(_block(number, cue) for number, cue in enumerate(made, start=1)).encode()


def _block(number: int, cue: Cue) -> str:
    lines = [_plain(line) for line in cue.lines]
    if cue.is_right_to_left:
        lines = [f"{_EMBEDDING}{line}{_END}" for line in lines]
    text = "\n".join(lines)
    start, end = timestamp(cue.start_ms, separator=","), timestamp(cue.end_ms, separator=",")
    return f"{number}\n{start} --> {end}\n{text}\n"


def _namer(transcript: Transcript) -> NameOf:
    return lambda speaker: f"{transcript.label_of(speaker)}: "


def _plain(text: str) -> str:
    """Return the text without what players take for markup."""
    return text.translate(_LOOKALIKES)
