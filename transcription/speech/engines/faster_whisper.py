"""Whisper by faster-whisper and CTranslate2, with clips of many recordings in one batch.

faster-whisper loads models, computes features and aligns words. This module does the batching itself.
`BatchedInferencePipeline` is not used: it takes one language, task and prompt for the whole batch, and passes the last
words of a clip to the next one, so that the words of a clip would depend on its neighbours. CTranslate2 itself accepts
mixed options in a batch if all prompts have the same length.

A process that has loaded CTranslate2 hangs after a fork, so only the engine process imports this module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from transcription.speech.engines import alignment, hallucination
from transcription.speech.engines.base import Recognition, check_languages
from transcription.speech.engines.decoding import Decoding
from transcription.speech.engines.whisper_languages import CANTONESE, LANGUAGES, translates
from transcription.speech.errors import EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import Word

if TYPE_CHECKING:
    import numpy.typing as npt

BEAM_SIZE = 5
BATCH_ON_CPU = 8
BATCH_ON_CUDA = 32
# A doubtful decoding is repeated at these temperatures. Whisper uses five; three limit the time that one bad recording
# takes from all others.
TEMPERATURES = (0.2, 0.4, 0.8)
HYPOTHESES = 5
SEED = 20
# Half of the tokens that the decoder can hold (448), less one. The other half is for its output.
MAX_PROMPT_TOKENS = 223
FRAME_MS = 10
# Frames that the encoder gets for a clip, which is padded to them: 30 s, as Whisper was trained, or 15 s. A number that
# is the width of a Whisper (384 to 1280) would not do: by the last dimension CTranslate2 tells features from the output
# of the encoder.
FULL_CONTEXT = 3000
SHORT_CONTEXT = 1500
# The longest clip, in milliseconds, that a model gets in the short context, by the model's public name. A model is here
# when its word errors say that it may be (decision 27). All others get every clip in the full context.
SHORT_CONTEXT_CLIP_MS = {"base": 12_000}
SILENT_BELOW = 2 / 32768  # two steps of 16-bit audio


@dataclass(frozen=True, slots=True)
class Prepared:
    """One clip as the input of the model.

    features: (mel bins, context) float32, None for digital silence. context: FULL_CONTEXT or SHORT_CONTEXT.
    """

    features: npt.NDArray[np.float32] | None
    duration_ms: int
    context: int = FULL_CONTEXT

    def in_full_context(self) -> Prepared:
        """Return the clip as it is without a short context."""
        features = None if self.features is None else pad_or_trim(self.features, FULL_CONTEXT)
        return Prepared(features=features, duration_ms=self.duration_ms)


class FasterWhisperEngine:
    """Implements `engines.base.Engine` and `BatchEngine` with one model.

    model: a folder with a converted model. name: its public name.
    device: "auto", "cpu", "cuda" or "cuda:<number>". compute_type: CTranslate2's name; "" means the best of the device.
    short_context_clip_ms: the longest clip that is encoded in a context of 15 s instead of 30 s; 0 means none, None the
    figure of SHORT_CONTEXT_CLIP_MS for the name.
    Raises EngineUnavailable when the model does not load.
    """

    max_clip_ms = 30_000
    pause_ms = 600
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        model: str,
        name: str = "whisper",
        device: str = "auto",
        compute_type: str = "",
        max_batch: int = 0,
        short_context_clip_ms: int | None = None,
    ) -> None:
        kind, _, index = device.partition(":")
        if kind == "auto":
            kind = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            self._whisper = WhisperModel(
                model,
                device=kind,
                device_index=int(index or 0),
                compute_type=compute_type or ("float16" if kind == "cuda" else "int8"),
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineUnavailable(f"The Whisper model {name!r} could not be loaded: {error}") from error
        self.name = f"faster-whisper/{name}"
        self.device = kind
        self.max_batch = max_batch or (BATCH_ON_CUDA if kind == "cuda" else BATCH_ON_CPU)
        self._short_context_clip_ms = (
            SHORT_CONTEXT_CLIP_MS.get(name, 0) if short_context_clip_ms is None else short_context_clip_ms
        )
        # Pauses are where sentences end, mostly, so little is lost if a clip ends at the last one that fits.
        self.packed_ms = self._short_context_clip_ms or self.max_clip_ms
        self._counts = Counter[int]()  # clips by context
        self._repeated = 0
        self._is_multilingual = bool(self._whisper.model.is_multilingual)
        self.languages: frozenset[str] | None = self._known_languages()
        self.supported_options = frozenset(
            {"prompt", "hotwords"} | ({"translate"} if translates(name, self.languages) else set())
        )
        self._tokenizer = lru_cache(maxsize=256)(self._make_tokenizer)
        self._prefix = lru_cache(maxsize=64)(self._make_prefix)
        self._suppressed = list(get_suppressed_tokens(self._tokenizer("en", "transcribe"), [-1]))

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """See `Engine.recognise`."""
        check_languages(options, languages=self.languages, engine=self.name)
        heard: dict[int, Recognition] = {}
        for start in range(0, len(clips), self.max_batch):
            batches: dict[Hashable, list[tuple[int, Prepared]]] = {}
            for number, clip in enumerate(clips[start : start + self.max_batch], start):
                prepared = self.prepare(clip)
                batches.setdefault(self.bucket(prepared, options), []).append((number, prepared))
            for batch in batches.values():
                recognitions = self.recognise_batch([prepared for _, prepared in batch], [options] * len(batch))
                for index, recognition in recognitions:
                    heard[batch[index][0]] = recognition
        return [heard[number] for number in range(len(clips))]

    def prepare(self, clip: Samples) -> Prepared:
        """See `BatchEngine.prepare`."""
        duration_ms = samples_to_ms(len(clip))
        context = SHORT_CONTEXT if duration_ms <= self._short_context_clip_ms else FULL_CONTEXT
        if not len(clip) or np.abs(clip).max() < SILENT_BELOW:
            return Prepared(features=None, duration_ms=duration_ms, context=context)
        features = pad_or_trim(self._whisper.feature_extractor(clip)[..., :-1], context)
        return Prepared(features.astype(np.float32, copy=False), duration_ms=duration_ms, context=context)

    def bucket(self, prepared: Prepared, options: TranscriptionOptions) -> Hashable:
        """See `BatchEngine.bucket`. Clips with the same context and prompts of the same length share a batch."""
        check_languages(options, languages=self.languages, engine=self.name)
        return prepared.context, len(self._prefix(options.prompt, options.hotwords))

    def figures(self) -> dict[str, Any]:
        """See `BatchEngine.figures`."""
        return {
            "contexts": {str(context): self._counts[context] for context in sorted(self._counts)},
            "repeated": self._repeated,
        }

    def recognise_batch(
        self, prepared: Sequence[Prepared], options: Sequence[TranscriptionOptions]
    ) -> Iterator[tuple[int, Recognition]]:
        """See `BatchEngine.recognise_batch`."""
        heard = []
        for index, clip in enumerate(prepared):
            if clip.features is None:
                yield index, Recognition(words=(), language=options[index].language)
            else:
                heard.append(index)
        if not heard:
            return
        clips, asked = [prepared[index] for index in heard], [options[index] for index in heard]
        self._counts.update(clip.context for clip in clips)
        encoded = self._encode([clip.features for clip in clips if clip.features is not None])
        languages = self._languages(encoded, asked)
        tokenizers = [self._tokenizer(language, one.task) for (language, _), one in zip(languages, asked, strict=True)]
        prompts = [
            [*self._prefix(one.prompt, one.hotwords), *tokenizer.sot_sequence, tokenizer.no_timestamps]
            for one, tokenizer in zip(asked, tokenizers, strict=True)
        ]
        decodings = self._generate(encoded, prompts, beam_size=BEAM_SIZE)
        is_short = clips[0].context < FULL_CONTEXT
        repeated = [row for row, one in enumerate(decodings) if is_short and one.needs_full_context]
        doubtful = [row for row, one in enumerate(decodings) if not is_short and one.is_doubtful and not one.is_silence]
        rows = [row for row in range(len(heard)) if row not in doubtful and row not in repeated]
        for row, words in self._words(encoded, rows, decodings, tokenizers, clips):
            yield heard[row], Recognition(words, *languages[row])
        for row in repeated:
            self._repeated += 1
            for _, recognition in self.recognise_batch([clips[row].in_full_context()], [asked[row]]):
                yield heard[row], recognition
        for row in doubtful:
            alone = _rows(encoded, [row], count=len(heard))
            words = self._checked_words(alone, prompts[row], decodings[row], tokenizers[row], clips[row])
            yield heard[row], Recognition(words, *languages[row])

    def _known_languages(self) -> frozenset[str]:
        """Return the languages that the vocabulary has. The library sends no token for one that it lacks."""
        if not self._is_multilingual:
            return frozenset({"en"})
        has_cantonese = self._whisper.hf_tokenizer.token_to_id(f"<|{CANTONESE}|>") is not None
        return frozenset(LANGUAGES) - (frozenset() if has_cantonese else {CANTONESE})

    def _encode(self, features: Sequence[npt.NDArray[np.float32]]) -> Any:
        """Return the output of the encoder for all clips: on a GPU in one batch, on a CPU one by one.

        All are of one context. In the full one, the attention of the encoder needs heads x 1500 x 1500 floats for each
        clip, twice: 42 MB for the tiny test model, 360 MB for large-v3. A batch is not faster on a CPU (8 clips: 1.11 s
        together, 1.02 s one by one).
        """
        if self.device == "cuda":
            return self._whisper.encode(np.stack(features))
        alone = [_array(self._whisper.encode(one[None])) for one in features]
        return ctranslate2.StorageView.from_array(np.concatenate(alone))

    def _languages(self, encoded: Any, asked: Sequence[TranscriptionOptions]) -> list[tuple[str, float | None]]:
        """Return (language, probability) of each clip. The probability is None if the options name the language.

        Among candidates it is their share: the customer knows that it is none of the others.
        """
        if not self._is_multilingual:
            return [("en", None)] * len(asked)
        if all(one.language for one in asked):
            return [(one.language or "", None) for one in asked]
        found = self._whisper.model.detect_language(encoded)
        return [
            (one.language, None) if one.language else self._likeliest(detected, among=one.languages)
            for one, detected in zip(asked, found, strict=True)
        ]

    def _likeliest(self, detected: Sequence[tuple[str, float]], *, among: Sequence[str]) -> tuple[str, float]:
        """Return (language, probability) of the likeliest that may be: a model may detect more than can be asked for.

        detected: (token such as "<|en|>", probability) of every language, the likeliest first.
        """
        allowed = frozenset(among) or self.languages or frozenset()
        possible = [(token[2:-2], float(probability)) for token, probability in detected if token[2:-2] in allowed]
        if not possible:  # this model has no token for any candidate
            return among[0], 0.0
        language, probability = possible[0]
        total = sum(one for _, one in possible) if among else 1.0
        return language, round(probability / total, 4) if total else 0.0

    def _generate(self, encoded: Any, prompts: list[list[int]], **how: Any) -> list[Decoding]:
        results = self._whisper.model.generate(
            encoded,
            prompts,
            max_length=self._whisper.max_length,
            suppress_tokens=self._suppressed,
            return_scores=True,
            return_no_speech_prob=True,
            **how,
        )
        decodings = []
        for prompt, result in zip(prompts, results, strict=True):
            tokens = list(result.sequences_ids[0])
            # The score is divided by the number of tokens without end-of-text, but its sum includes that token.
            mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
            text = self._tokenizer("en", "transcribe").decode(tokens).strip()
            # CTranslate2 gives the text half of what the decoder holds, and what the prompt leaves (whisper.cc, 4.8).
            room = min(self._whisper.max_length // 2, self._whisper.max_length - len(prompt))
            decodings.append(Decoding(tokens, text, mean, result.no_speech_prob, is_cut_off=len(tokens) >= room))
        return decodings

    def _checked_words(
        self, alone: Any, prompt: list[int], decoding: Decoding, tokenizer: Tokenizer, clip: Prepared
    ) -> tuple[Word, ...]:
        """Return the words of a clip whose decoding is doubtful. Decodes it again, and cuts loops, if it is bad."""
        words, is_bad = self._judged_words(alone, decoding, tokenizer, clip)
        if is_bad:
            decoding = self._decode_again(alone, prompt, decoding)
            words, is_bad = self._judged_words(alone, decoding, tokenizer, clip)
        return hallucination.without_loops(words) if is_bad else words

    def _judged_words(
        self, alone: Any, decoding: Decoding, tokenizer: Tokenizer, clip: Prepared
    ) -> tuple[tuple[Word, ...], bool]:
        """Return the words, and whether the decoding is bad."""
        [(_, words)] = self._words(alone, [0], [decoding], [tokenizer], [clip])
        is_bad = decoding.is_bad(duration_ms=clip.duration_ms) or hallucination.is_collapsed(words)
        return words, decoding.is_doubtful and is_bad

    def _decode_again(self, alone: Any, prompt: list[int], first: Decoding) -> Decoding:
        """Decode one clip again. Returns the first result without doubt, else the likeliest without repetition."""
        tried = [first]
        for temperature in TEMPERATURES:
            ctranslate2.set_random_seed(SEED)  # the same clip must give the same words
            [decoding] = self._generate(
                alone,
                [prompt],
                beam_size=1,
                num_hypotheses=HYPOTHESES,
                sampling_topk=0,
                sampling_temperature=temperature,
            )
            if decoding.is_silence or not decoding.is_doubtful:
                return decoding
            tried.append(decoding)
        varied = [
            one
            for one in tried
            if hallucination.compression_ratio(one.text) <= hallucination.COMPRESSION_RATIO_THRESHOLD
        ]
        return max(varied or tried, key=lambda one: one.mean_log_probability)

    def _words(
        self,
        encoded: Any,
        rows: Sequence[int],
        decodings: Sequence[Decoding],
        tokenizers: Sequence[Tokenizer],
        clips: Sequence[Prepared],
    ) -> Iterator[tuple[int, tuple[Word, ...]]]:
        """Yield (row, words) for these rows of the batch. Rows with the same language and task are aligned together.

        On a CPU each row is aligned alone. That takes half the time, since no row is padded to the length of another,
        and memory for the attention of one clip only (26 MB for the tiny test model).
        """
        groups: dict[int, list[int]] = {}
        for row in rows:
            if decodings[row].is_silence or not decodings[row].text:
                yield row, ()
            else:
                groups.setdefault(id(tokenizers[row]) if self.device == "cuda" else row, []).append(row)
        for group in groups.values():
            tokenizer = tokenizers[group[0]]
            found = self._whisper.find_alignment(
                tokenizer,
                [[token for token in decodings[row].tokens if token < tokenizer.eot] for row in group],
                _rows(encoded, group, count=len(clips)),
                [min(clips[row].context, max(1, math.ceil(clips[row].duration_ms / FRAME_MS))) for row in group],
            )
            language = _written_language(tokenizer)
            for row, aligned in zip(group, found, strict=True):
                yield row, alignment.repaired_words(aligned, duration_ms=clips[row].duration_ms, language=language)

    def _make_tokenizer(self, language: str, task: str) -> Tokenizer:
        return Tokenizer(self._whisper.hf_tokenizer, self._is_multilingual, task=task, language=language)

    def _make_prefix(self, prompt: str, hotwords: tuple[str, ...]) -> list[int]:
        """Return the tokens before the transcript: the hotwords, then the end of the prompt."""
        if not prompt.strip() and not hotwords:
            return []
        tokenizer = self._tokenizer("en", "transcribe")
        expected = tokenizer.encode(" " + ", ".join(hotwords))[: MAX_PROMPT_TOKENS // 2] if hotwords else []
        said = tokenizer.encode(" " + prompt.strip()) if prompt.strip() else []
        room = MAX_PROMPT_TOKENS - len(expected)
        return [tokenizer.sot_prev, *expected, *said[-room:]]


def _rows(encoded: Any, rows: Sequence[int], *, count: int) -> Any:
    """Return these rows of the output of the encoder for `count` clips."""
    if list(rows) == list(range(count)):
        return encoded
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(_array(encoded)[list(rows)]))


def _array(encoded: Any) -> npt.NDArray[np.float32]:
    """Return an array as float32, since numpy has no bfloat16. The model converts its input itself."""
    return np.asarray(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))


def _written_language(tokenizer: Tokenizer) -> str:
    """Return the language of the text. Translations are English, and their tokenizer is of the spoken language."""
    is_translated = tokenizer.task is not None and tokenizer.task == tokenizer.translate
    return "en" if is_translated else tokenizer.language_code
