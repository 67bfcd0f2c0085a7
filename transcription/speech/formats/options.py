"""The options of a format that people read, such as subtitles."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from transcription.speech.errors import OptionError

# (minimum, maximum) of each number.
BOUNDS: dict[str, tuple[float, float]] = {
    "max_chars_per_line": (10, 200),
    "max_lines": (1, 10),
    "min_seconds": (0, 10),
    "max_seconds": (1, 60),
}


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How a transcript is written.

    max_chars_per_line: width of a line of a subtitle in columns; Han, kana and Hangul take two each.
    max_lines: lines of a subtitle. min_seconds: how long it is shown at least, if the next one leaves the time.
    max_seconds: how long it is shown at most. speaker_labels: whether the names of speakers are written.
    timestamps: whether paragraphs have the time at which they begin. None leaves it to the format: a document has them,
    plain text has not.

    The defaults are those of broadcasters. Source: Netflix, English Timed Text Style Guide (42 characters a line, two
    lines, 5/6 s to 7 s), read 2026-11-20; one second is easier to remember.
    """

    max_chars_per_line: int = 42
    max_lines: int = 2
    min_seconds: float = 1.0
    max_seconds: float = 7.0
    speaker_labels: bool = True
    timestamps: bool | None = None

    def __post_init__(self) -> None:
        """Raise OptionError, with `data["param"]`, for a value outside its range."""
        for name, (minimum, maximum) in BOUNDS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and minimum <= value <= maximum):
                raise OptionError(f"{name} must be from {minimum} to {maximum}.", param=name)
        if self.min_seconds > self.max_seconds:
            raise OptionError(
                "min_seconds must not be more than max_seconds.", param="min_seconds", rule="min_over_max"
            )

    @property
    def min_ms(self) -> int:
        return round(self.min_seconds * 1000)

    @property
    def max_ms(self) -> int:
        return round(self.max_seconds * 1000)


DEFAULT = FormatOptions()
NAMES = tuple(field.name for field in fields(FormatOptions))
