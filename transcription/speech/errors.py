"""The errors of speech recognition.

    SpeechError
    ├── AudioError               the file is at fault: never retried
    │   ├── EmptyAudio           nothing in the file
    │   │   └── NoDuration       a valid file whose audio lasts 0 seconds
    │   ├── NotAudio             text, playlist, image, archive, unreadable or harmful file
    │   │   └── NoAudioTrack     a video without sound
    │   ├── TruncatedAudio       the file promises clearly more than it holds
    │   └── AudioTooLong         longer than the caller allows
    ├── OptionError              the request is at fault
    │   └── UnknownLanguage      the engine does not speak it
    ├── Stopped                  no fault: the caller asked to stop
    └── EngineError              our side is at fault: may be retried
        ├── EngineUnavailable    no answer before the deadline
        ├── EngineFailed         the engine answered with a failure
        ├── DecoderUnavailable   the processes that read recordings do not start, or were killed
        ├── UnknownEngine        no engine of that name is registered
        └── UnknownDiarizer      no diarizer of that name is registered

`type` is public and never renamed. `message` is plain English and may be shown to the sender of the file.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SpeechError(Exception):
    """Base class: a recording could not be transcribed.

    message: text for the sender; None means the default of the class.
    data: plain JSON values for programs, such as `max_duration_ms`.
    """

    type: ClassVar[str] = "speech_error"
    default_message: ClassVar[str] = "The recording could not be transcribed."

    def __init__(self, message: str | None = None, **data: Any) -> None:
        self.message = message or self.default_message
        self.data: dict[str, Any] = data
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (self.__class__, self.message, self.data))

    def to_dict(self) -> dict[str, Any]:
        """Return {"type", "message", "data"}, the form in which processes of this product exchange errors."""
        return {"type": self.type, "message": self.message, "data": self.data}


class AudioError(SpeechError):
    type = "invalid_audio"
    default_message = "The file could not be read as audio."


class EmptyAudio(AudioError):
    type = "empty_audio"
    default_message = "The file is empty."


class NoDuration(EmptyAudio):
    type = "no_duration"
    default_message = "The recording is 0 seconds long."


class NotAudio(AudioError):
    type = "not_audio"
    default_message = "The file is not an audio or video recording that we can read."


class NoAudioTrack(NotAudio):
    type = "no_audio_track"
    default_message = "The file has no audio track."


class TruncatedAudio(AudioError):
    type = "truncated_audio"
    default_message = "The file is cut off: it holds less audio than its header says."


class AudioTooLong(AudioError):
    type = "audio_too_long"
    default_message = "The recording is longer than allowed."


class OptionError(SpeechError):
    type = "invalid_option"
    default_message = "An option of the transcription has a wrong value."


class UnknownLanguage(OptionError):
    type = "unknown_language"
    default_message = "The language is not supported."


class Stopped(SpeechError):
    type = "stopped"
    default_message = "The transcription was stopped."


class EngineError(SpeechError):
    type = "engine_error"
    default_message = "Speech recognition failed."


class EngineUnavailable(EngineError):
    type = "engine_unavailable"
    default_message = "Speech recognition is not available at the moment."


class EngineFailed(EngineError):
    type = "engine_failed"
    default_message = "Speech recognition failed on this recording."


class DecoderUnavailable(EngineError):
    type = "decoder_unavailable"
    default_message = "Recordings cannot be read at the moment."


class UnknownEngine(EngineError):
    type = "unknown_engine"
    default_message = "There is no speech engine of that name."


class UnknownDiarizer(EngineError):
    type = "unknown_diarizer"
    default_message = "There is no diarizer of that name."


def from_dict(error: dict[str, Any], *, otherwise: type[SpeechError]) -> SpeechError:
    """Rebuild an error from `to_dict()`. An unknown type becomes `otherwise`."""
    kind = _by_type().get(str(error.get("type")), otherwise)
    return _rebuild(kind, str(error.get("message") or ""), dict(error.get("data") or {}))


def is_senders_fault(error_type: str) -> bool:
    """Tell whether an error of this type is the fault of the recording or of the request, so that no retry mends it."""
    return issubclass(_by_type().get(error_type, SpeechError), AudioError | OptionError)


def _rebuild(kind: type[SpeechError], message: str, data: dict[str, Any]) -> SpeechError:
    return kind(message, **data)


def _by_type() -> dict[str, type[SpeechError]]:
    found: dict[str, type[SpeechError]] = {}
    waiting: list[type[SpeechError]] = [SpeechError]
    while waiting:
        kind = waiting.pop()
        found.setdefault(kind.type, kind)  # a subclass without a type of its own is its parent on the wire
        waiting.extend(kind.__subclasses__())
    return found
