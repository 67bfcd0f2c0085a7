"""What of a recording was not heard, as facts of numbers, and as sentences for the notes of a transcript.

Facts come out of the confined child that reads an untrusted file. They carry no text, so that a child that a file has
taken over cannot write into a transcript.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transcription.speech.samples import SAMPLE_RATE, Samples

# A file must not fill the notes.
MAX_FACTS = 10
MAX_NUMBER = 1 << 40
# Sound without words is named from this length on, if nearly all of its seconds are louder than -40 dB of full scale.
MIN_WORDLESS_SECONDS = 30
MIN_LOUD_RMS = 0.01
MIN_LOUD_SHARE = 0.8
# If fewer of the loud seconds have words, it is said, unless long stretches without words are named already.
MIN_WORDS_SHARE = 0.5
MIN_LOUD_SECONDS = 5
# A channel repeats another one if it has so many words, and so large a share of them is in both at the same time.
# Two people who talk with each other both say "yes" now and then; microphones in one room share nearly everything.
MIN_REPEATED_WORDS = 20
MIN_REPEATED_SHARE = 0.5
SAME_TIME_MS = 700


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was not heard. kind: a key of `_SENTENCES`. Times are from the start of the recording."""

    kind: str
    at_ms: int = 0
    end_ms: int = 0
    count: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_answer(answer: Any) -> list[Fact]:
    """Return the facts of a child's answer. Raises ValueError for facts that no honest child sends."""
    if not isinstance(answer, list):
        raise ValueError("facts are a list")  # noqa: TRY004 - handled like invalid JSON
    found = []
    for one in answer[:MAX_FACTS]:
        try:
            fact = Fact(**one)
        except TypeError as error:
            raise ValueError("a fact has a kind and numbers") from error
        numbers = (fact.at_ms, fact.end_ms, fact.count)
        if fact.kind not in _SENTENCES or not all(type(n) is int and 0 <= n < MAX_NUMBER for n in numbers):
            raise ValueError("a fact has a known kind and sensible numbers")
        found.append(fact)
    return found


class Loudness:
    """Remembers which seconds of a recording, or of one channel, are loud."""

    def __init__(self) -> None:
        self._is_loud: list[bool] = []

    def add(self, window: Samples) -> None:
        """Add the next part, a whole number of seconds; only the last may have another length."""
        import numpy as np

        whole = window[: len(window) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
        powers = np.einsum("ij,ij->i", whole, whole, dtype=np.float64) / SAMPLE_RATE
        self._is_loud.extend((powers > MIN_LOUD_RMS**2).tolist())

    def wordless(self, words: Iterable[tuple[int, int]]) -> list[Fact]:
        """Return the long stretches of loud sound between words.

        words: (start_ms, end_ms), sorted by start.
        """
        found: list[Fact] = []
        at_ms = 0
        for start_ms, end_ms in (*words, (len(self._is_loud) * 1000, 0)):
            first, last = -(-at_ms // 1000), start_ms // 1000
            loud = [second for second in range(first, min(last, len(self._is_loud))) if self._is_loud[second]]
            if loud and loud[-1] + 1 - loud[0] >= MIN_WORDLESS_SECONDS:
                length = loud[-1] + 1 - loud[0]
                if len(loud) >= MIN_LOUD_SHARE * length:
                    found.append(Fact("wordless", at_ms=loud[0] * 1000, end_ms=loud[0] * 1000 + length * 1000))
            at_ms = max(at_ms, end_ms)
        return found[:MAX_FACTS]

    def few_words(self, words: Iterable[tuple[int, int]]) -> list[Fact]:
        """Return a fact if less than half of the loud seconds have words (decision 68).

        words: (start_ms, end_ms).
        """
        loud = {second for second, is_loud in enumerate(self._is_loud) if is_loud}
        heard = {second for start_ms, end_ms in words for second in range(start_ms // 1000, end_ms // 1000 + 1)}
        if len(loud) < MIN_LOUD_SECONDS or len(loud & heard) >= MIN_WORDS_SHARE * len(loud):
            return []
        return [Fact("few_words", at_ms=len(loud & heard) * 1000, end_ms=len(loud) * 1000)]


def repeated_channels(channels: Sequence[Sequence[tuple[int, str]]]) -> list[Fact]:
    """Return a fact for each channel whose words are for the most part those of an earlier channel.

    channels: of each channel the words, as (start in ms, text), sorted by start. Case and punctuation do not count.
    """
    found: list[Fact] = []
    starts: list[dict[str, list[int]]] = []
    for number, words in enumerate(channels, start=1):
        plain = [(start_ms, "".join(filter(str.isalnum, text)).casefold()) for start_ms, text in words]
        for earlier in starts:
            repeated = sum(_is_near(start_ms, earlier.get(text, [])) for start_ms, text in plain)
            if len(plain) >= MIN_REPEATED_WORDS and repeated >= MIN_REPEATED_SHARE * len(plain):
                found.append(Fact("repeated_channel", count=number))
                break
        own: dict[str, list[int]] = defaultdict(list)
        for start_ms, text in plain:
            own[text].append(start_ms)
        starts.append(own)
    return found


def _is_near(start_ms: int, sorted_ms: list[int]) -> bool:
    at = bisect_left(sorted_ms, start_ms - SAME_TIME_MS)
    return at < len(sorted_ms) and sorted_ms[at] <= start_ms + SAME_TIME_MS


def sentences(facts: list[Fact]) -> tuple[str, ...]:
    """Return the facts as sentences for the customer, each once: every channel of a split recording tells the same."""
    return tuple(dict.fromkeys(_sentence(fact) for fact in facts))[:MAX_FACTS]


def _sentence(fact: Fact) -> str:
    return _SENTENCES[fact.kind].format(
        at=clock_time(fact.at_ms), end=clock_time(fact.end_ms), count=fact.count, s="" if fact.count == 1 else "s"
    )


_SENTENCES = {
    "tracks_left_out": (
        "The file has {count} more audio track{s} in another language or with comments, not transcribed. Send them as "
        "files of their own."
    ),
    "tracks_unreadable": "The file has {count} more audio track{s} that we cannot read.",
    "stopped": "The file is damaged at {at}. Nothing after it could be read.",
    "truncated": "The file is cut off: its header says {end}, and it ends at {at}.",
    "wordless": "From {at} to {end} there is sound, but no words were found.",
    "few_words": "Words were found in {at} of {end} of loud sound.",
    "gap": "The file has no sound from {at} to {end}.",
    "damaged": "{count} second{s} of the file are damaged and were replaced by silence.",
    "same_channel": "Channel {count} has the same sound as channel 1. Both were transcribed and charged.",
    "repeated_channel": (
        "Most words of channel {count} are in another channel too. Mixed channels (channels=mix) cost less and have "
        "each word once."
    ),
    "rest_of_wav": "The file holds more sound than its header says. All of it was transcribed.",
}


def clock_time(milliseconds: int) -> str:
    """Return a time as hours, minutes and seconds: 3661000 -> "1:01:01"."""
    seconds = milliseconds // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
