"""Which decodings of Whisper are taken, and which are silence, doubtful or wrong. Pure arithmetic.

The thresholds of text are in `hallucination`.
"""

from __future__ import annotations

from dataclasses import dataclass

from transcription.speech.engines import hallucination

# A less likely text is recognised again in the full context. Below this, clips with noise and reverberation have more
# errors in the short one (decision 27); clean speech has scores above -0.3.
SHORT_CONTEXT_LOG_PROBABILITY = -0.4


@dataclass(frozen=True, slots=True)
class Decoding:
    """What the decoder made of one clip."""

    tokens: list[int]
    text: str
    mean_log_probability: float
    no_speech: float
    is_cut_off: bool

    @property
    def is_silence(self) -> bool:
        return hallucination.is_silence(no_speech=self.no_speech, mean_log_probability=self.mean_log_probability)

    @property
    def is_doubtful(self) -> bool:
        is_unlikely = hallucination.is_unlikely(mean_log_probability=self.mean_log_probability)
        return is_unlikely or hallucination.is_repetitive(self.text)

    @property
    def needs_full_context(self) -> bool:
        """Tell whether a decoding in the short context is not good enough: unlikely, or a loop, rare as it is."""
        is_likely = self.mean_log_probability >= SHORT_CONTEXT_LOG_PROBABILITY
        return not is_likely or self.is_cut_off or hallucination.is_repetitive(self.text)

    def is_bad(self, *, duration_ms: int) -> bool:
        """Tell whether a doubtful decoding is wrong. Otherwise its words repeat, and may have been said so."""
        return (
            hallucination.is_unlikely(mean_log_probability=self.mean_log_probability)
            or self.is_cut_off
            or hallucination.is_too_fast(self.text, duration_ms=duration_ms)
        )
