"""The options of a transcription, for all API dialects, in one value that is stored with the job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from transcription.speech.errors import OptionError

# What pages and the native API accept. Another dialect may have bounds of its own inside these.
MAX_PROMPT_LENGTH = 4000
MAX_HOTWORDS = 100
MAX_HOTWORD_LENGTH = 100
MAX_SPEAKERS = 20
# Each channel costs as much work as a whole recording. Telephone calls and interviews have two.
MAX_SPLIT_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class TranscriptionOptions:
    """The options of one transcription.

    language: ISO 639-1 code. None detects it: for the recording, or with mixed_languages for each clip.
    languages: candidates for detection; empty means all that the engine knows.
    prompt: text that the recording may continue. hotwords: terms to expect. If the engine supports neither, the notes
    of the transcript say so.
    diarize: label speakers. num_speakers is their exact number; min_speakers and max_speakers are bounds.
    task: "translate" asks for English text. channels: "split" transcribes each channel as a recording of its own.
    accept_truncated: transcribe what is there of a file whose header states more than it holds.
    only_language: tell the language of the first speech, and transcribe nothing.
    word_timestamps: whether the result shows words. Recognition always makes them, for subtitles and speakers.
    """

    language: str | None = None
    prompt: str = ""
    hotwords: tuple[str, ...] = ()
    task: Literal["transcribe", "translate"] = "transcribe"
    diarize: bool = True
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    word_timestamps: bool = True
    channels: Literal["mix", "split"] = "mix"
    mixed_languages: bool = False
    accept_truncated: bool = False
    languages: tuple[str, ...] = ()
    only_language: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError, with `data["param"]`, for a value outside its range."""
        if self.task not in ("transcribe", "translate"):
            raise OptionError("task must be transcribe or translate.", param="task")
        if self.channels not in ("mix", "split"):
            raise OptionError("channels must be mix or split.", param="channels")
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            count = getattr(self, name)
            if count is not None and not 1 <= count <= MAX_SPEAKERS:
                raise OptionError(f"{name} must be from 1 to {MAX_SPEAKERS}.", param=name)
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise OptionError(
                "min_speakers must not be more than max_speakers.", param="min_speakers", rule="fewest_over_most"
            )

    def refuse_contradictions(self) -> None:
        """Raise OptionError, with `data["param"]` and `data["rule"]`, for options that contradict each other.

        Called for new requests only. The constructor does not call it, so that options stored with older jobs remain
        readable.
        """
        counts = [name for name in ("num_speakers", "min_speakers", "max_speakers") if getattr(self, name) is not None]
        if self.num_speakers is not None and len(counts) > 1:
            raise OptionError(
                "num_speakers is the exact number: leave out min_speakers and max_speakers.",
                param="num_speakers",
                rule="exact_or_range",
            )
        if counts and self.channels == "split":
            raise OptionError(
                f"{counts[0]} does not go with channels=split: each channel is one speaker.",
                param=counts[0],
                rule="count_or_channels",
            )
        if counts and not self.diarize:
            raise OptionError(
                f"{counts[0]} does not go with diarize=false: no speakers are told apart.",
                param=counts[0],
                rule="count_needs_diarize",
            )
        if self.mixed_languages and self.language is not None:
            raise OptionError(
                "mixed_languages does not go with language: each stretch of speech has its own.",
                param="mixed_languages",
                rule="one_language_or_mixed",
            )
        if self.languages and self.language is not None:
            raise OptionError(
                "languages does not go with language: they are candidates for its detection.",
                param="languages",
                rule="one_language_or_candidates",
            )

    @property
    def speaker_bounds(self) -> tuple[int, int]:
        """(minimum, maximum) number of speakers. num_speakers takes precedence over the bounds."""
        if self.num_speakers:
            return self.num_speakers, self.num_speakers
        minimum = self.min_speakers or 1
        return minimum, max(minimum, self.max_speakers or MAX_SPEAKERS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "hotwords": list(self.hotwords), "languages": list(self.languages)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> TranscriptionOptions:
        """Rebuild options from `to_dict()`. Unknown keys are ignored; missing ones take the default."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        for name in ("hotwords", "languages"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)
