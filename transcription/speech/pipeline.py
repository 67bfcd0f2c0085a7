"""The whole transcription of one file: a file, an engine and a diarizer in, a transcript out.

Everything is streamed: while the engine works on some clips, the next ones are decoded, a bounded number ahead, and the
diarizer hears them in a thread of its own. A long file takes more time and no more memory. One thread does all the
rest, so an exception of `on_progress` ends all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path

from transcription.speech import cutting, decode, hearing, probing, scripts, skipped, speakers
from transcription.speech.diarizers.background import BackgroundDiarization
from transcription.speech.diarizers.base import Diarization, Diarizer
from transcription.speech.engines import language, whisper_languages
from transcription.speech.engines.base import Engine, Recognition, StreamedClip, StreamingEngine, check_languages
from transcription.speech.options import MAX_SPLIT_CHANNELS, TranscriptionOptions
from transcription.speech.samples import SAMPLES_PER_MS, Samples, samples_to_ms
from transcription.speech.transcript import Segment, Transcript, Word, speaker_id
from transcription.speech.waveform import Waveform

OnProgress = Callable[[int], None]
OnSegments = Callable[[list[Segment]], None]
# Called with the name of a stage: the context lasts as long as the stage does. Stages overlap.
Stage = Callable[[str], AbstractContextManager[object]]

# With `only_language`, clips are recognised until they hold so much speech, and so much of the recording is searched.
# Whisper itself hears the first 30 s, but a film often begins with minutes of music.
LANGUAGE_SPEECH_MS = 30_000
LANGUAGE_SEARCH_MS = 600_000
ONLY_LANGUAGE_NOTE = "Only the language of the first speech was detected, and nothing was transcribed."
# Speech in another language that is shorter than this is not told of: a name or a quotation, or an error of detection.
MIN_OTHER_LANGUAGE_MS = 10_000


def run(
    path: Path | str,
    *,
    options: TranscriptionOptions,
    engine: Engine | StreamingEngine,
    diarizer: Diarizer | None,
    max_duration_ms: int,
    on_progress: OnProgress = lambda _: None,
    on_segments: OnSegments = lambda _: None,
    stage: Stage = nullcontext,
) -> Transcript:
    """Transcribe one recording.

    diarizer: with None, or with `options.diarize` false, words have no speakers. If channels are split, each channel is
    a speaker and the diarizer is not used.
    max_duration_ms: AudioTooLong is raised when the decoded length exceeds it, whatever the file states.
    on_progress: called with the milliseconds that are done, which never decrease. An exception ends the run.
    on_segments: called with the segments of each clip, in order (channel by channel if they are split). They have no
    speakers yet, and the transcript may split segments elsewhere.
    stage: called for "decode" and "recognise", of split channels for each, and for "diarize", which is what the words
    wait for their speakers.
    With `options.only_language`, the transcript has a language, or None without speech, and no segments; its duration
    is how much of the recording was heard, and on_segments is not called.
    Returns a transcript without segments when there is no speech. Raises AudioError, UnknownLanguage or EngineError.
    """
    check_languages(options, languages=engine.languages, engine=engine.name)
    notes = engine.notes + _notes_on_ignored(options, engine=engine)
    # Untrusted files are decoded in confined child processes only.
    channels = (
        probing.probe_in_child(path, max_duration_ms=max_duration_ms, may_be_truncated=True).channels
        if options.channels == "split"
        else 0
    )
    if channels > MAX_SPLIT_CHANNELS:
        notes += (f"The channels were mixed: {channels} are too many, {MAX_SPLIT_CHANNELS} can be transcribed apart.",)
    if options.only_language:
        return _language_of(path, options=options, engine=engine, max_duration_ms=max_duration_ms, notes=notes)
    is_split = 1 <= channels <= MAX_SPLIT_CHANNELS
    if is_split and channels == 1:
        notes += ("The recording has one channel: all of it is shown as one speaker.",)
    facts: list[hearing.Fact] = []
    is_translated = options.task == "translate" and "translate" in engine.supported_options
    current = _Run(options=options, engine=engine, on_segments=on_segments, stage=stage)
    if is_split:
        diarization = None
        segments = _transcribe_channels(
            path, channels, current=current, max_duration_ms=max_duration_ms, on_progress=on_progress, facts=facts
        )
    else:
        diarization = (
            BackgroundDiarization(diarizer, options=options) if diarizer is not None and options.diarize else None
        )
        with closing(diarization) if diarization is not None else nullcontext():
            words = current.recognise(
                decode.windows(path, max_duration_ms=max_duration_ms, facts=facts),
                on_progress=on_progress,
                diarization=diarization,
            )
            if diarization is not None and words:
                with stage("diarize"):
                    turns = diarization.turns()
                words = speakers.assign(words, turns, tolerance_ms=diarization.boundary_tolerance_ms)
        segments = speakers.segments(words)
    heard_language, language_probability = current.language()
    on_progress(current.decoded_ms)
    return Transcript(
        language=heard_language,
        language_probability=language_probability,
        duration_ms=current.decoded_ms,
        segments=segments,
        engine=engine.name,
        diarizer="channels" if is_split else diarization.name if diarization is not None else None,
        notes=notes
        + hearing.sentences(facts + current.wordless)
        + current.language_notes()
        + (diarization.notes if diarization is not None else ()),
        is_translated=is_translated,
        peaks=current.waveform.peaks(),
    )


def _language_of(
    path: Path | str,
    *,
    options: TranscriptionOptions,
    engine: Engine | StreamingEngine,
    max_duration_ms: int,
    notes: tuple[str, ...],
) -> Transcript:
    """Return a transcript without segments: the language of the first speech."""
    current = _Run(options=options, engine=engine, on_segments=lambda _: None)
    windows = decode.windows(path, max_duration_ms=max_duration_ms)
    current.recognise(_first(windows, LANGUAGE_SEARCH_MS), on_progress=lambda _: None, diarization=None)
    heard_language, probability = current.language()
    return Transcript(
        language=heard_language,
        language_probability=probability,
        duration_ms=current.decoded_ms,
        segments=(),
        engine=engine.name,
        notes=(*notes, ONLY_LANGUAGE_NOTE),
    )


def _first(windows: Iterator[Samples], length_ms: int) -> Iterator[Samples]:
    """Yield windows until they are so long together."""
    heard_ms = 0
    for window in windows:
        yield window
        heard_ms += samples_to_ms(len(window))
        if heard_ms >= length_ms:
            return


def _transcribe_channels(
    path: Path | str,
    channels: int,
    *,
    current: _Run,
    max_duration_ms: int,
    on_progress: OnProgress,
    facts: list[hearing.Fact],
) -> tuple[Segment, ...]:
    """Return the segments of all channels, sorted by time. Each channel is a speaker.

    facts: what was not heard is added to it.
    """
    found: list[Segment] = []
    heard: list[list[tuple[int, str]]] = []
    for channel in range(channels):
        # Each channel is an equal part of the progress. The first channel shows how long they are.
        before_ms = channel * current.decoded_ms

        def report(done_ms: int, before_ms: int = before_ms) -> None:
            on_progress((before_ms + done_ms) // channels)

        windows = decode.windows(path, max_duration_ms=max_duration_ms, channel=channel, facts=facts)
        words = current.recognise(windows, on_progress=report, diarization=None, speaker=speaker_id(channel))
        heard.append([(word.start_ms, word.text) for word in words])
        found.extend(speakers.segments(words))
    same = {fact.count for fact in facts if fact.kind == "same_channel"}
    facts.extend(fact for fact in hearing.repeated_channels(heard) if fact.count not in same)
    return _merged(found)


class _Run:
    """The state of one transcription."""

    def __init__(
        self,
        *,
        options: TranscriptionOptions,
        engine: Engine | StreamingEngine,
        on_segments: OnSegments,
        stage: Stage = nullcontext,
    ) -> None:
        self._options, self._engine, self._on_segments, self._stage = options, engine, on_segments, stage
        # Clips that the engine has, in order, each with the one of which it repeats what was not heard.
        self._waiting: deque[tuple[cutting.Clip, skipped.HeardClip | None]] = deque()
        self._heard_clips: deque[skipped.HeardClip] = (
            deque()
        )  # in the order of the recording, from the first that is open on
        self._unheard: deque[tuple[cutting.Clip, skipped.HeardClip]] = deque()  # to be recognised next
        # (ms, language of the words, its probability, other language that was heard) of clips with words
        self._heard: list[tuple[int, str, float | None, str | None]] = []
        self._reported_ms = 0
        self._loudness = hearing.Loudness()
        self.wordless: list[hearing.Fact] = []  # sound without words, of all channels
        self.decoded_ms = 0
        self.waveform = Waveform()  # of all channels

    def recognise(
        self,
        windows: Iterator[Samples],
        *,
        on_progress: OnProgress,
        diarization: Diarization | None,
        speaker: str | None = None,
    ) -> list[Word]:
        """Return the words of the whole recording, or of one channel."""
        self._reported_ms = 0
        self._waiting.clear()
        words: list[Word] = []
        self._report(0, on_progress)
        clips = cutting.clips(
            self._counting(windows, on_progress, diarization=diarization),
            max_clip_ms=self._engine.max_clip_ms,
            pause_ms=self._engine.pause_ms,
            packed_ms=self._engine.packed_ms,
        )
        self._heard_clips.clear()
        self._unheard.clear()
        remaining: Iterator[cutting.Clip] = clips
        while True:
            with (
                self._stage("recognise"),
                closing(language.stream(self._engine, self._remembering(remaining), options=self._options)) as stream,
            ):
                for recognition in stream:
                    for clip, new in self._ready(recognition, speaker=speaker):
                        placed = skipped.spaced(new, before=words[-1].text if words else "")
                        if diarization is not None:
                            _add(diarization, clip, placed)
                        if placed:
                            words.extend(placed)
                            self._on_segments(list(speakers.segments(placed)))
                        self._report(clip.end_ms, on_progress)
            if not self._unheard:
                break
            remaining = iter(())
        self._report(self.decoded_ms, on_progress)
        spans = [(word.start_ms, word.end_ms) for word in words]
        self.wordless.extend(self._loudness.wordless(spans) or self._loudness.few_words(spans))
        return words

    def language(self) -> tuple[str | None, float | None]:
        """Return (language of most speech, mean probability that speech is in it or None if the engine states none)."""
        lengths: dict[str, int] = {}
        for length_ms, spoken, _, _ in self._heard:
            lengths[spoken] = lengths.get(spoken, 0) + length_ms
        if not lengths:
            return None, None
        most = max(lengths, key=lambda one: lengths[one])
        given = [(ms, sure if spoken == most else 1 - sure) for ms, spoken, sure, _ in self._heard if sure is not None]
        total_ms = sum(ms for ms, _ in given)
        return most, round(sum(ms * sure for ms, sure in given) / total_ms, 4) if total_ms else None

    def language_notes(self) -> tuple[str, ...]:
        """Return a sentence for each other language that was heard, unless several were expected or one was named."""
        most, _ = self.language()
        if most is None or self._options.language is not None or self._options.mixed_languages:
            return ()
        own, other = dict[str, int](), dict[str, int]()
        for length_ms, spoken, _, heard in self._heard:
            lengths, code = (own, spoken) if heard is None else (other, heard)
            lengths[code] = lengths.get(code, 0) + length_ms
        own.pop(most)
        other.pop(most, None)
        return _language_notes(own, "That part was recognised in its own language.") + _language_notes(
            other,
            f"That part was recognised as {_language_name(most)}. "
            "With mixed languages (mixed_languages), each part is recognised in its own.",
        )

    def _counting(
        self, windows: Iterator[Samples], on_progress: OnProgress, *, diarization: Diarization | None
    ) -> Iterator[Samples]:
        """Yield the windows unchanged. Counts their length, reports progress, and lets the diarizer hear them."""
        samples = 0
        self._loudness = hearing.Loudness()
        waveform = Waveform()
        with self._stage("decode"):
            for window in windows:
                self._loudness.add(window)
                waveform.add(window)
                if diarization is not None:
                    diarization.hear(samples_to_ms(samples), window)
                yield window
                samples += len(window)
                self.decoded_ms = round(samples / SAMPLES_PER_MS)
                self._report(self._waiting[0][0].start_ms if self._waiting else self.decoded_ms, on_progress)
        self.waveform.join(waveform)

    def _remembering(self, clips: Iterator[cutting.Clip]) -> Iterator[StreamedClip]:
        heard_ms = 0
        for clip in clips:
            yield from self._again()
            self._waiting.append((clip, None))
            yield StreamedClip(clip.samples)
            heard_ms += samples_to_ms(len(clip.samples))
            if self._options.only_language and heard_ms >= LANGUAGE_SPEECH_MS:
                return
        yield from self._again()

    def _again(self) -> Iterator[StreamedClip]:
        while self._unheard:
            clip, heard = self._unheard.popleft()
            self._waiting.append((clip, heard))
            yield StreamedClip(clip.samples, language=heard.language)

    def _ready(self, recognition: Recognition, *, speaker: str | None) -> Iterator[tuple[cutting.Clip, list[Word]]]:
        """Take the next recognition. Yields (clip, its words) of clips, in order, as far as nothing is missing."""
        clip, first = self._waiting.popleft()
        words = _place(recognition.words, clip, speaker=speaker)
        if first is None:
            self._note_language(clip, recognition)
            # A stretch of a second must not decide on a language: Whisper takes "Mm-hm" for Welsh.
            heard_in = None if self._options.mixed_languages else recognition.language
            heard = skipped.HeardClip(clip, words, language=heard_in)
            self._heard_clips.append(heard)
            is_searched = self._options.task != "translate" and not self._options.only_language
            if is_searched and (unheard := heard.open()) is not None:
                self._unheard.append((unheard, heard))
        else:
            first.add(words)
        while self._heard_clips and not self._heard_clips[0].is_open:
            ready = self._heard_clips.popleft()
            yield ready.clip, ready.words

    def _report(self, done_ms: int, on_progress: OnProgress) -> None:
        """Report progress. A clip that began before the last report must not make it decrease."""
        self._reported_ms = max(self._reported_ms, done_ms)
        on_progress(self._reported_ms)

    def _note_language(self, clip: cutting.Clip, recognition: Recognition) -> None:
        spoken = recognition.language or self._options.language
        if recognition.words and spoken is not None:
            length_ms = samples_to_ms(len(clip.samples))
            self._heard.append((length_ms, spoken, recognition.language_probability, recognition.heard_language))


def _place(words: tuple[Word, ...], clip: cutting.Clip, *, speaker: str | None) -> list[Word]:
    """Return the words with times in the recording, in order and inside their stretch of the clip."""
    placed: list[Word] = []
    for word in words:
        start_ms, end_ms = clip.place(word.start_ms, word.end_ms)
        if placed:
            start_ms = max(start_ms, placed[-1].start_ms)
        placed.append(replace(word, start_ms=start_ms, end_ms=max(start_ms, end_ms), speaker=speaker))
    return placed


def _merged(channels: list[Segment]) -> tuple[Segment, ...]:
    """Return the segments of all channels, sorted by time. Their first words tell of the blank after the neighbour."""
    merged: list[Segment] = []
    for segment in sorted(channels, key=lambda one: (one.start_ms, one.end_ms)):
        words = segment.words
        if merged and merged[-1].speaker != segment.speaker:
            is_apart = scripts.needs_blank(merged[-1].text, segment.text)
            words = (replace(words[0], has_space_before=is_apart), *words[1:])
        merged.append(replace(segment, words=words))
    return tuple(merged)


def _language_notes(lengths: dict[str, int], outcome: str) -> tuple[str, ...]:
    """Return a sentence for each language. lengths: milliseconds of speech, by code."""
    return tuple(
        f"{_language_name(code)} was also heard, for about {round(length_ms / 1000)} s. {outcome}"
        for code, length_ms in lengths.items()
        if length_ms >= MIN_OTHER_LANGUAGE_MS
    )


def _language_name(code: str) -> str:
    return whisper_languages.LANGUAGES.get(code, code)


def _add(diarization: Diarization, clip: cutting.Clip, words: list[Word]) -> None:
    """Give the diarizer the stretches that contain words."""
    for start_ms, samples in clip.stretches():
        end_ms = start_ms + samples_to_ms(len(samples))
        if any(word.start_ms <= end_ms and start_ms <= word.end_ms for word in words):
            diarization.add(start_ms, samples)


def _notes_on_ignored(options: TranscriptionOptions, *, engine: Engine | StreamingEngine) -> tuple[str, ...]:
    """Return a sentence for each requested option that the engine does not support."""
    notes = []
    if options.prompt and "prompt" not in engine.supported_options:
        notes.append(f"The prompt was ignored: {engine.name} takes none.")
    if options.hotwords and "hotwords" not in engine.supported_options:
        notes.append(f"The hotwords were ignored: {engine.name} takes none.")
    if options.task == "translate" and "translate" not in engine.supported_options:
        notes.append(f"Nothing was translated: {engine.name} cannot.")
    return tuple(notes)
