from __future__ import annotations

import functools
import threading
import time
import wave

import numpy as np
import pytest

from tests.fixtures import encoding, hostile, make_recordings, recordings, tiny_whisper
from tests.transcription.speech.fakes import FakeDiarization, FakeDiarizer, FakeEngine
from transcription import turns
from transcription.speech import audio, errors, pipeline
from transcription.speech.diarizers import background
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.engines import alignment
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.remote import RemoteEngine
from transcription.speech.formats import FORMATS
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE, ms_to_samples
from transcription.speech.transcript import Word, join_words

SPOKEN = [one for one in recordings.everything() if one.text]
SILENT = [one for one in recordings.everything() if not one.text]


def run(
    path,
    *,
    engine,
    diarizer=None,
    max_duration_ms=3_600_000,
    on_progress=lambda _: None,
    on_segments=lambda _: None,
    **options,
):
    return pipeline.run(
        path,
        options=TranscriptionOptions(**options),
        engine=engine,
        diarizer=diarizer,
        max_duration_ms=max_duration_ms,
        on_progress=on_progress,
        on_segments=on_segments,
    )


@pytest.fixture(scope="module")
def heard(pocketsphinx):
    """Return a function that gives the transcript of a recording. It takes seconds, so that it is made once."""
    return functools.cache(
        lambda name: run(recordings.named(name).path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    )


@pytest.mark.parametrize("recording", SPOKEN, ids=lambda one: one.path.name)
def test_every_format_gives_every_word_and_speaker(recording, heard):
    transcript = heard(recording.path.name)
    assert transcript.text == recording.text
    assert {speaker for speaker, _ in transcript.speakers} == recording.speakers
    assert (transcript.language, transcript.engine, transcript.diarizer) == ("en", "pocketsphinx", "clustering")


def test_dialogue_is_told_apart_turn_by_turn(heard):
    recording = recordings.named("dialogue.flac")
    transcript = heard("dialogue.flac")
    assert [(one.speaker, one.text) for one in transcript.segments] == [
        (turn["speaker"], turn["text"]) for turn in recording.turns
    ]
    for segment, turn in zip(transcript.segments, recording.turns, strict=True):
        assert abs(segment.start_ms - turn["start_ms"]) < 200
        assert abs(segment.end_ms - turn["end_ms"]) < 200


@pytest.mark.parametrize("recording", SILENT, ids=lambda one: one.path.name)
def test_silence_gives_an_empty_transcript(recording, pocketsphinx):
    transcript = run(recording.path, engine=pocketsphinx, diarizer=ClusteringDiarizer())
    assert (transcript.segments, transcript.text, transcript.language) == ((), "", None)
    assert abs(transcript.duration_ms - recording.duration_ms) < 100


def test_words_lie_in_order_inside_the_recording(heard):
    transcript = heard("dialogue.mp3")
    times = [(word.start_ms, word.end_ms) for word in transcript.words]
    assert times == sorted(times)
    assert all(0 <= start < end <= transcript.duration_ms for start, end in times)
    assert all(word.speaker for word in transcript.words)


def test_without_diarizer_words_have_no_speaker():
    transcript = run(
        recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=FakeDiarizer(), diarize=False
    )
    assert transcript.diarizer is None
    assert {word.speaker for word in transcript.words} == {None}
    assert transcript.speakers == []


def test_progress_never_falls_and_ends_at_the_duration():
    told = []
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(), on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == transcript.duration_ms


def test_progress_may_end_the_run():
    class CanceledError(Exception):
        pass

    def stop(_):
        raise CanceledError

    engine = FakeEngine()
    with pytest.raises(CanceledError):
        run(recordings.named("dialogue.flac").path, engine=engine, on_progress=stop)
    assert len(engine.clip_lengths_ms) == 0


class WaitsForRecognition(FakeDiarization):
    """A diarization whose windows are not done before the engine has got a clip."""

    def __init__(self, is_recognising):
        super().__init__()
        self.is_recognising = is_recognising

    def hear(self, start_ms, samples):
        assert self.is_recognising.wait(10), "recognition waits for the diarizer"
        super().hear(start_ms, samples)


def test_recognition_does_not_wait_for_the_diarizer():
    engine, diarizer, is_recognising = FakeEngine(), FakeDiarizer(), threading.Event()
    engine.before_clip = is_recognising.set
    diarizer.begin = lambda options: WaitsForRecognition(is_recognising)
    transcript = run(recordings.named("dialogue.flac").path, engine=engine, diarizer=diarizer)
    assert {word.speaker for word in transcript.words} == {"S1", "S2"}


def test_failed_diarizer_fails_the_run():
    diarizer = FakeDiarizer()

    def begin(options):
        raise errors.EngineUnavailable("no diarizer")

    diarizer.begin = begin
    with pytest.raises(errors.EngineUnavailable, match="no diarizer"):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=diarizer)


def test_run_that_is_ended_leaves_no_diarizer_at_work():
    def stop(done_ms):
        if done_ms:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), diarizer=FakeDiarizer(), on_progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(background.THREAD_NAME)]


def test_unknown_language_is_refused_before_decoding(pocketsphinx, tmp_path):
    with pytest.raises(errors.UnknownLanguage) as caught:
        run(tmp_path / "never-opened", engine=pocketsphinx, language="fr")
    assert caught.value.data["languages"] == ["en"]


def test_too_long_is_refused_while_decoding(tmp_path):
    with pytest.raises(errors.AudioTooLong):
        run(recordings.named("dialogue.flac").path, engine=FakeEngine(), max_duration_ms=5_000)


@pytest.mark.parametrize("make", [hostile.text, hostile.image, hostile.archive, hostile.no_moov, hostile.empty])
def test_bad_file_raises_an_audio_error(make, tmp_path):
    with pytest.raises(errors.AudioError):
        run(make(tmp_path), engine=FakeEngine())


def test_language_is_that_of_most_speech():
    transcript = run(recordings.named("dialogue.flac").path, engine=FakeEngine(language="de", probability=0.75))
    assert (transcript.language, transcript.language_probability) == ("de", 0.75)


def test_what_was_not_done_is_said():
    transcript = run(
        recordings.named("sentence-slt.wav").path,
        engine=FakeEngine(),
        prompt="hello",
        hotwords=("voxsite",),
        task="translate",
    )
    assert len(transcript.notes) == 3


def test_recording_without_pauses_between_stretches_keeps_every_time(tmp_path):
    """A clip for Whisper contains many stretches of speech without the silence between them. Times must not shift."""
    sentence = make_recordings.RATE * 3
    speech = np.concatenate(
        [
            np.frombuffer(recordings.named("sentence-slt.wav").path.read_bytes()[44:], dtype="<i2")[:sentence],
            np.zeros(32_000, dtype="<i2"),
        ]
    )
    path = tmp_path / "long.flac"
    make_recordings.encode(path, np.tile(speech, 20))
    engine = FakeEngine()
    engine.packs_clips = True
    transcript = run(path, engine=engine, diarizer=FakeDiarizer())
    assert len(engine.clip_lengths_ms) < 5
    assert all(length_ms <= engine.max_clip_ms for length_ms in engine.clip_lengths_ms)
    assert transcript.words[-1].start_ms > 93_000
    # Nothing is said in the last 2 s of every 5.
    assert all(word.start_ms % 5_000 < 3_500 for word in transcript.words)


def test_segments_are_told_clip_by_clip():
    told = []
    recording = recordings.named("dialogue.flac")
    transcript = run(recording.path, engine=FakeEngine(), on_segments=told.append)
    assert len(told) == len(recording.turns)
    assert [word for segments in told for one in segments for word in one.words] == list(transcript.words)


@pytest.fixture
def two_channels(tmp_path):
    """A recording with one speaker in each channel: hello on the left, then hola on the right."""
    left, right = (
        np.concatenate(list(audio.windows(tiny_whisper.SAMPLES / name, max_duration_ms=60_000)))
        for name in ("en-hello.wav", "es-hola.wav")
    )
    both = np.zeros((len(left) + len(right), 2), dtype="<i2")
    both[: len(left), 0] = left * 32767
    both[len(left) :, 1] = right * 32767
    path = tmp_path / "line.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(both.tobytes())
    return path


def test_channels_are_transcribed_apart(two_channels, whisper):
    told = []
    transcript = run(two_channels, engine=whisper, diarizer=FakeDiarizer(), channels="split", on_progress=told.append)
    said = [(one.speaker, one.text) for one in transcript.segments]
    assert said == [
        ("S1", tiny_whisper.samples()["en-hello.wav"].text),
        ("S2", tiny_whisper.samples()["es-hola.wav"].text),
    ]
    assert transcript.segments[1].start_ms > 3_900
    assert transcript.diarizer == "channels"
    assert told == sorted(told)
    assert told[-1] == transcript.duration_ms


def test_language_is_found_out_for_every_clip_on_request(tmp_path, whisper, wav, said):
    """36 s of English, then 132 s of Spanish."""
    path = tmp_path / "both.wav"
    path.write_bytes(wav(said("en-dialogue.flac", "en-meeting.flac", *["es-dialogue.flac"] * 6)))
    transcript = run(path, engine=whisper)
    assert transcript.language == "es"
    assert transcript.language_probability < 0.95
    [note] = transcript.notes
    assert note.startswith("English was also heard")
    assert {"reunión", "hola"} <= {word.text for word in transcript.words}
    mixed = run(path, engine=whisper, mixed_languages=True)
    assert (mixed.language, mixed.notes) == ("es", ())
    assert {"good", "morning", "reunión", "hola"} <= {word.text for word in mixed.words}


class SaysEngine(FakeEngine):
    """Recognises what a test says, clip by clip: (language, units as the model writes them, probability)."""

    def __init__(self, *clips):
        super().__init__()
        self._clips = list(clips)

    def _recognise(self, clip):
        spoken, units, *probability = self._clips.pop(0)
        aligned = [
            {"word": unit, "tokens": [1], "start": at * 0.2, "end": at * 0.2 + 0.2, "probability": 0.5}
            for at, unit in enumerate(units)
        ]
        words = alignment.repaired_words(aligned, duration_ms=len(clip) // 16, language=spoken)
        return Recognition(words, spoken, *(probability or [0.99]))


ZH = ("zh", ["我们", "今天", "见", "。"])
ZH_MORE = ("zh", ["再", "见", "。"])
EN = ("en", [" Good", " morning", ",", " this", " is", " the", " English", " part", "."])
EN_MORE = ("en", [" It", "'s", " 3", ".14", "."])
ENGLISH, MORE_ENGLISH = "Good morning, this is the English part.", "It's 3.14."


@pytest.mark.parametrize(
    ("clips", "text"),
    [
        ([ZH, ZH_MORE, EN, ZH, EN_MORE], f"我们今天见。再见。 {ENGLISH} 我们今天见。 {MORE_ENGLISH}"),
        ([EN, EN_MORE, ZH, ZH_MORE, EN], f"{ENGLISH} {MORE_ENGLISH} 我们今天见。再见。 {ENGLISH}"),
        (
            [("ko", [" 안녕", "하세요", "."]), ZH, ("th", ["สวัสดี", "ครับ"]), ("th", ["ขอบคุณ"]), EN_MORE],
            f"안녕하세요. 我们今天见。 สวัสดีครับ ขอบคุณ {MORE_ENGLISH}",
        ),
    ],
    ids=["chinese-first", "english-first", "four-languages"],
)
def test_each_language_of_a_recording_keeps_its_blanks(clips, text):
    told = []
    path = recordings.named("dialogue.flac").path
    transcript = run(path, engine=SaysEngine(*clips), mixed_languages=True, on_segments=told.extend)
    assert transcript.text == text
    assert join_words(transcript.words) == text
    assert [one.text for one in told] == [one.text for one in transcript.segments]
    for name in ("txt", "srt", "vtt"):
        lines = FORMATS[name].render(transcript).decode().removeprefix("WEBVTT").splitlines()
        shown = [line for line in lines if line and "-->" not in line and not line.isdecimal()]
        assert shown == [one.text for one in transcript.segments], name
    assert [paragraph["text"] for paragraph in turns.paragraphs(transcript)] == [
        one.text for one in transcript.segments
    ]


def test_each_channel_keeps_the_blanks_of_its_language(two_channels):
    transcript = run(two_channels, engine=SaysEngine(EN, ZH), channels="split")
    assert transcript.text == f"{ENGLISH} 我们今天见。"
    assert {one.speaker: one.text for one in transcript.segments} == {"S1": ENGLISH, "S2": "我们今天见。"}


def test_segments_of_channels_are_apart_although_their_words_touch(tmp_path, wav, said):
    """Both channels speak Chinese and Latin letters; what stands before a segment is of the other channel."""
    path = tmp_path / "both.wav"
    path.write_bytes(wav(said("en-hello.wav", pause_ms=6_000), np.roll(said("es-hola.wav", pause_ms=6_000), 48_000)))
    transcript = run(path, engine=SaysEngine(("zh", ["用", "AI"]), ("zh", ["用", "VR"])), channels="split")
    assert transcript.text == "用AI 用VR"


YES, SI = ("en", [" Yes", "."]), ("es", [" Sí", "."])


@pytest.fixture
def long_dialogue(tmp_path):
    """Fifteen sentences in 47 s: a clip each."""
    path = tmp_path / "long.flac"
    [samples] = audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)
    make_recordings.encode(path, (np.tile(samples, 3) * 32767).astype("<i2"))
    return path


def test_language_that_lasts_is_kept_and_told(long_dialogue):
    transcript = run(long_dialogue, engine=SaysEngine(*[YES] * 6, *[SI] * 9))
    assert transcript.text == "Yes. " * 6 + "Sí. " * 8 + "Sí."
    assert transcript.language == "es"
    assert 0.5 < transcript.language_probability < 0.7
    [note] = transcript.notes
    assert note.startswith("English was also heard, for about 1")
    assert note.endswith("recognised in its own language.")


def test_language_that_comes_and_goes_is_not_kept_but_told(long_dialogue):
    clips = [YES, YES, YES, *[SI, SI, YES] * 4]
    transcript = run(long_dialogue, engine=AgainEngine(*clips))
    assert transcript.text == "Yes. " * 14 + "Yes."
    [note] = transcript.notes
    assert note.startswith("Spanish was also heard, for about 2")
    assert "recognised as English" in note


class AgainEngine(SaysEngine):
    """Says "Yes." for every clip that it is asked to recognise in English."""

    def recognise(self, clips, *, options):
        if options.language == "en":
            return [Recognition((Word("Yes.", 0, 400, 0.5),), "en") for _ in clips]
        return super().recognise(clips, options=options)


def test_a_few_seconds_of_another_language_are_not_told():
    path = recordings.named("dialogue.flac").path
    transcript = run(path, engine=AgainEngine(YES, YES, YES, SI, YES))
    assert (transcript.language, transcript.notes) == ("en", ())


@pytest.mark.parametrize("options", [{"language": "en"}, {"mixed_languages": True}])
def test_nothing_is_told_of_languages_that_were_expected(options):
    clips = [EN, ("es", [" Sí", "."]), ("es", [" Sí", "."]), ("es", [" Sí", "."]), EN]
    assert run(recordings.named("dialogue.flac").path, engine=SaysEngine(*clips), **options).notes == ()


def test_translation_is_joined_as_english_whatever_was_spoken():
    """Chinese is written without spaces, its translation with spaces."""
    engine = FakeEngine(language="zh")
    engine.supported_options = frozenset({"translate"})
    told = []
    path = recordings.named("sentence-slt.wav").path
    transcript = run(path, engine=engine, task="translate", on_segments=told.append)
    assert (transcript.language, transcript.written_in, transcript.is_translated) == ("zh", "en", True)
    assert transcript.text == " ".join(word.text for word in transcript.words)
    assert " ".join(one.text for segments in told for one in segments) == transcript.text
    assert run(path, engine=FakeEngine(language="zh"), task="translate").is_translated is False


def test_too_many_channels_are_mixed_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_SPLIT_CHANNELS", 0)
    transcript = run(recordings.named("sentence-slt.wav").path, engine=FakeEngine(), channels="split")
    assert len(transcript.notes) == 1
    assert transcript.words


@pytest.mark.parametrize("name", ["en-hello.wav", "en-meeting.flac", "es-hola.wav", "es-reunion.flac"])
def test_whisper_hears_files_through_the_engine_process(name, whisper_process):
    sample = tiny_whisper.samples()[name]
    engine = RemoteEngine(whisper_process.address, timeout_seconds=30)
    transcript = run(sample.path, engine=engine, diarizer=ClusteringDiarizer())
    assert (transcript.text, transcript.language) == (sample.text, sample.language)
    turns = sample.turns
    assert abs(transcript.words[0].start_ms - 1000 * turns[0]["start"]) < 450
    assert abs(transcript.words[-1].end_ms - 1000 * turns[-1]["end"]) < 450
    assert all(word.speaker for word in transcript.words)


def test_silence_noise_and_tones_of_a_minute_give_nothing_through_whisper(whisper_process, tmp_path):
    seconds = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    sounds = {
        "silence": np.zeros(len(seconds)),
        "noise": np.random.default_rng(3).normal(size=len(seconds)) * 0.1,
        "tones": sum(np.sin(seconds * 2 * np.pi * pitch) * (seconds % 1 < 0.5) for pitch in (262, 330, 392)) / 4,
    }
    engine = RemoteEngine(whisper_process.address, timeout_seconds=30)
    for name, samples in sounds.items():
        path = tmp_path / f"{name}.flac"
        make_recordings.encode(path, (samples * 32767).astype("<i2"))
        transcript = run(path, engine=engine, diarizer=ClusteringDiarizer())
        assert (transcript.segments, transcript.language) == ((), None), name
        assert abs(transcript.duration_ms - 60_000) < 100


def test_stop_comes_through_within_two_seconds(whisper_process, tmp_path):
    path = tmp_path / "long.flac"
    speech = np.concatenate(list(audio.windows(tiny_whisper.SAMPLES / "en-dialogue.flac", max_duration_ms=60_000)))
    make_recordings.encode(path, (np.tile(speech, 40) * 32767).astype("<i2"))
    stop_at = time.monotonic() + 1.5
    engine = RemoteEngine(whisper_process.address, should_stop=lambda: time.monotonic() > stop_at)
    with pytest.raises(errors.Stopped):
        run(path, engine=engine)
    assert time.monotonic() - stop_at < 2
    engine.close()
    # The waiting requests are dropped and do not delay others.
    deadline = time.monotonic() + 10
    while whisper_process.health()["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def spoken(name="sentence-slt.wav"):
    """Return a fixture's sound as one channel of shape (1, n)."""
    return np.concatenate(list(audio.windows(recordings.named(name).path, max_duration_ms=60_000)))[None, :]


def test_reversed_channel_gives_the_words_of_the_other(tmp_path, pocketsphinx):
    path = encoding.write(
        tmp_path / "inv.wav", np.vstack([spoken(), -spoken()]), container="wav", codec="pcm_s16le"
    )  # fmt: skip
    assert run(path, engine=pocketsphinx).text == make_recordings.SENTENCE_SLT


@pytest.mark.parametrize("channels", [3, 10])
def test_words_of_the_last_channel_are_heard(channels, tmp_path, pocketsphinx):
    sound = np.zeros((channels, spoken().shape[1]), dtype=np.float32)
    sound[-1] = spoken()[0]
    assert run(encoding.wav(tmp_path / "desk.wav", sound), engine=pocketsphinx).text == make_recordings.SENTENCE_SLT


def test_both_tracks_are_heard(tmp_path, pocketsphinx):
    one, other = spoken(), spoken("sentence-rms.wav")
    path = encoding.write(
        tmp_path / "call.mkv",
        [one, other],
        container="matroska",
        codec="flac",
        starts=[0.0, one.shape[1] / SAMPLE_RATE],
    )
    transcript = run(path, engine=pocketsphinx)
    assert transcript.text == f"{make_recordings.SENTENCE_SLT} {make_recordings.SENTENCE_RMS}"
    apart = run(path, engine=pocketsphinx, channels="split")
    assert [segment.text for segment in apart.segments] == [make_recordings.SENTENCE_SLT, make_recordings.SENTENCE_RMS]


def test_notes_name_a_track_in_another_language(tmp_path):
    path = encoding.write(
        tmp_path / "film.mkv", [spoken(), spoken()], container="matroska", codec="flac",
        metadata=[{"language": "eng"}, {"language": "fre"}],
    )  # fmt: skip
    [note] = run(path, engine=FakeEngine()).notes
    assert "1 more audio track in another language" in note


def test_notes_say_where_a_file_stops(tmp_path):
    good = encoding.write(tmp_path / "1", spoken(), container="mp4", codec="aac").read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(good + good[: int.from_bytes(good[:4])] + (8).to_bytes(4, "big") + b"moov")
    assert run(path, engine=FakeEngine()).notes == ("The file is damaged at 0:00:03. Nothing after it could be read.",)


@pytest.mark.parametrize("gain", [1.0, 0.5, -1.0])
def test_notes_of_split_channels_name_the_same_sound(gain, tmp_path):
    sound = np.vstack([spoken(), gain * spoken()])
    path = encoding.write(tmp_path / "dual.wav", sound, container="wav", codec="pcm_s16le")
    [note] = run(path, engine=FakeEngine(), channels="split").notes
    assert note.startswith("Channel 2 has the same sound as channel 1.")


def test_microphones_of_one_room_are_told_although_their_sound_differs(tmp_path, pocketsphinx):
    """The far one is quieter, 15 ms late, and has its own noise."""
    near = spoken("dialogue.flac")[0]
    noise = np.random.default_rng(1).standard_normal(len(near)).astype(np.float32) * 0.001
    far = 0.4 * np.roll(near, ms_to_samples(15)) + noise
    path = encoding.write(tmp_path / "room.wav", np.stack([near, far]), container="wav", codec="pcm_s16le")
    notes = run(path, engine=pocketsphinx, channels="split").notes
    assert [note.partition(".")[0] for note in notes if "channel" in note] == [
        "Most words of channel 2 are in another channel too"
    ]


def test_channels_of_two_persons_have_no_note(tmp_path):
    one, other = spoken(), spoken("sentence-rms.wav")
    size = min(one.shape[1], other.shape[1])
    sound = np.vstack([one[:, :size], other[:, :size]])
    path = encoding.write(tmp_path / "call.wav", sound, container="wav", codec="pcm_s16le")
    assert run(path, engine=FakeEngine(), channels="split").notes == ()


def test_notes_name_loud_sound_without_words(tmp_path, pocketsphinx):
    sound = np.hstack([spoken(), encoding.tone(45, hertz=200)])
    path = encoding.write(tmp_path / "alarm.flac", sound, container="flac", codec="flac")
    transcript = run(path, engine=pocketsphinx)
    assert transcript.words[-1].end_ms < 5_000
    assert any(note.startswith("From 0:00:0") and "no words" in note for note in transcript.notes)
