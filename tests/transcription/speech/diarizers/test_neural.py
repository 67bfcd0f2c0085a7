from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from tests.fixtures import recordings
from tests.transcription.speech.dialogues import MEN, load, speaker_at, spoken_by, two_men
from transcription.speech import audio, cutting, evaluate, references
from transcription.speech.diarizers import networks
from transcription.speech.diarizers.neural import SECTION_GAP_MS, NeuralDiarizer
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import ms_to_samples, samples_to_ms


def begin(**options):
    return NeuralDiarizer().begin(options=TranscriptionOptions(**options))


def turns(samples, **options):
    diarization = begin(**options)
    for clip in cutting.clips([samples], pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    return diarization.turns()


@cache
def turns_of_dialogue():
    """Return the turns of dialogue.flac. They are found once; a test of its own says that they are the same again."""
    return turns(load("dialogue.flac"))


def heard(samples, **options):
    """Return the turns when the diarizer hears the recording in windows, as the pipeline lets it."""
    diarization = begin(**options)
    window = ms_to_samples(30_000)
    for at in range(0, len(samples), window):
        diarization.hear(samples_to_ms(at), samples[at : at + window])
    for clip in cutting.clips([samples], pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    return diarization.turns()


@pytest.mark.long
@pytest.mark.parametrize("file", ["dialogue.flac", "dialogue.mp3", "dialogue.webm"])
def test_two_voices_are_told_apart(file):
    found = turns(load(file))
    for turn in recordings.named(file).turns:
        middle_ms = (turn["start_ms"] + turn["end_ms"]) // 2
        assert speaker_at(found, middle_ms) == turn["speaker"]


@pytest.mark.long
@pytest.mark.parametrize("file", ["sentence-slt.wav", "sentence-rms.wav", "sentence-slt.opus"])
def test_one_voice_is_one_speaker(file):
    assert {turn.speaker for turn in turns(load(file))} == {"S1"}


@pytest.mark.long
@pytest.mark.parametrize("gain_db", [-40, -20, 6])
def test_loudness_changes_nothing(gain_db):
    samples = load("dialogue.flac")
    found = turns(samples * np.float32(10 ** (gain_db / 20)))
    assert [turn.speaker for turn in found] == [turn.speaker for turn in turns_of_dialogue()]


@pytest.mark.long
def test_two_men_whom_the_segmentation_takes_for_one_are_told_apart():
    """Its pieces hold the end of one man's sentence and the beginning of the other's."""
    found = heard(two_men())
    speakers = [speaker_at(found, (start_ms + end_ms) // 2) for _, start_ms, end_ms in MEN]
    assert speakers == ["S1", "S2", "S1", "S2"]
    assert {turn.speaker for turn in found} == {"S1", "S2"}


@pytest.mark.long
def test_two_who_speak_at_once_are_both_found():
    slt, rms = np.concatenate(spoken_by("dialogue.flac", "S1")), np.concatenate(spoken_by("dialogue.flac", "S2"))
    size, both = min(len(slt), len(rms)), 3 * 16_000
    mixed = np.concatenate([slt[: size - both], slt[size - both : size] + rms[:both], rms[both:size]])
    found = turns(mixed)
    assert len({turn.speaker for turn in found}) == 2
    behind = sum(turn.end_ms - turn.start_ms for turn in found if turn.is_background)
    assert behind > 1_000
    overlap_ms = samples_to_ms(size - both), samples_to_ms(size)
    for turn in (turn for turn in found if turn.is_background):
        assert overlap_ms[0] - 300 <= turn.start_ms < turn.end_ms <= overlap_ms[1] + 300


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_number_of_speakers_is_obeyed(count):
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), num_speakers=count)}) == count


@pytest.mark.long
def test_bounds_are_obeyed():
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), max_speakers=1)}) == 1
    assert len({turn.speaker for turn in turns(load("dialogue.flac"), min_speakers=3)}) == 3


def test_turns_are_in_order_and_foreground_never_overlaps():
    found = turns_of_dialogue()
    assert found == sorted(found, key=lambda turn: (turn.start_ms, turn.end_ms))
    assert all(turn.start_ms < turn.end_ms for turn in found)
    front = [turn for turn in found if not turn.is_background]
    assert all(left.end_ms <= right.start_ms for left, right in pairwise(front))


def test_recording_without_a_clip_has_no_turns():
    assert begin().turns() == []


@pytest.mark.long
def test_pauses_with_hiss_are_no_speech():
    """With silence instead of the hiss between the clips, the network took all pauses of one voice for speech."""
    samples = np.concatenate(
        [np.concatenate([part, np.zeros(12_000)]) for part in spoken_by("dialogue.flac", "S2")] * 3
    )
    hiss = np.random.default_rng(7).normal(0, np.sqrt((samples**2).mean()) / 18, len(samples))
    found = heard((samples + hiss).astype(np.float32))
    assert {turn.speaker for turn in found} == {"S1"}
    spoken_ms = sum(samples_to_ms(len(part)) for part in spoken_by("dialogue.flac", "S2")) * 3
    assert sum(turn.end_ms - turn.start_ms for turn in found) < spoken_ms * 1.1


@pytest.mark.long
def test_somebody_without_words_is_nobody():
    samples = load("dialogue.flac")
    diarization = begin()
    diarization.hear(0, samples)
    clip = next(iter(cutting.clips([samples], pause_ms=400)))
    diarization.add(clip.start_ms, clip.samples)
    found = diarization.turns()
    assert {turn.speaker for turn in found} == {"S1"}
    assert found[-1].end_ms < recordings.named("dialogue.flac").turns[1]["start_ms"]


def test_silence_is_not_given_to_the_network(monkeypatch):
    monkeypatch.setattr(networks, "segment", lambda samples: pytest.fail("silence was heard"))
    diarization = begin()
    for start_ms in range(0, 600_000, 30_000):
        diarization.hear(start_ms, np.zeros(ms_to_samples(30_000), dtype=np.float32))
    assert diarization.turns() == []


def test_clip_in_which_the_network_hears_nobody_is_one_speaker():
    diarization = begin(num_speakers=3)
    diarization.add(2_000, np.zeros(300, dtype=np.float32))
    ((turn),) = diarization.turns()
    assert (turn.speaker, turn.start_ms) == ("S1", 2_000)


@pytest.mark.long
def test_hours_of_silence_between_clips_cost_nothing_and_move_nothing():
    samples = load("dialogue.flac")
    diarization = begin()
    away_ms = 5 * 3600 * 1000
    for offset_ms in (0, away_ms):
        for clip in cutting.clips([samples], pause_ms=400):
            diarization.add(offset_ms + clip.start_ms, clip.samples)
    found = diarization.turns()
    assert {turn.speaker for turn in found} == {"S1", "S2"}
    first = [(turn.start_ms, turn.end_ms, turn.speaker) for turn in found if turn.start_ms < away_ms]
    second = [(turn.start_ms - away_ms, turn.end_ms - away_ms, turn.speaker) for turn in found[len(first) :]]
    # Sections begin on a grid of frames of 17 ms.
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one[2] == other[2]
        assert one[:2] == pytest.approx(other[:2], abs=60)


@pytest.mark.long
@pytest.mark.parametrize("gap_ms", [SECTION_GAP_MS - 100, SECTION_GAP_MS + 100])
def test_gap_between_clips_changes_no_speaker(gap_ms):
    slt, rms = spoken_by("dialogue.flac", "S1"), spoken_by("dialogue.flac", "S2")
    diarization = begin()
    at_ms, middles = 0, []
    for part in (slt[0], rms[0], slt[1]):
        diarization.add(at_ms, part)
        middles.append(at_ms + samples_to_ms(len(part)) // 2)
        at_ms += samples_to_ms(len(part)) + gap_ms
    found = diarization.turns()
    assert [speaker_at(found, middle_ms) for middle_ms in middles] == ["S1", "S2", "S1"]


@pytest.mark.long
def test_size_of_the_clips_leaves_no_trace():
    samples = load("dialogue.flac")
    found = []
    for size in (samples_to_ms(len(samples)), 1_000, 3_700):
        diarization = begin()
        for at in range(0, len(samples), ms_to_samples(size)):
            diarization.add(samples_to_ms(at), samples[at : at + ms_to_samples(size)])
        found.append(diarization.turns())
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_repeated_recording_has_no_more_speakers():
    assert len({turn.speaker for turn in turns(np.tile(load("dialogue.flac"), 6))}) == 2


@pytest.fixture
def print_lengths(monkeypatch):
    """Return a list of the lengths, in seconds, of all speech that CAM++ hears."""
    lengths = []
    voice_frames = networks.voice_frames

    def counting(features):
        lengths.append(len(features) / 100)
        return voice_frames(features)

    monkeypatch.setattr(networks, "voice_frames", counting)
    return lengths


def without_pauses(speaker, *, seconds):
    said = np.concatenate(spoken_by("dialogue.flac", speaker))
    return np.tile(said, 1 + seconds * 16_000 // len(said))[: seconds * 16_000]


@pytest.mark.long
def test_of_a_long_speech_only_some_pieces_are_heard(print_lengths):
    assert {turn.speaker for turn in heard(without_pauses("S2", seconds=29))} == {"S1"}
    assert 0 < sum(print_lengths) < 20


@pytest.mark.long
def test_speech_that_changes_its_voice_is_heard_piece_by_piece():
    """For the segmentation both may be one speaker; what lies between two unlike pieces is heard itself."""
    both = np.concatenate([without_pauses("S2", seconds=13), without_pauses("S1", seconds=13)])
    found = heard(both)
    assert {turn.speaker for turn in found} == {"S1", "S2"}
    changes = [later.start_ms for earlier, later in pairwise(found) if earlier.speaker != later.speaker]
    assert min(abs(at_ms - 13_000) for at_ms in changes) < 500


def test_same_recording_gives_the_same_turns():
    assert turns(load("dialogue.flac")) == turns_of_dialogue()


def test_without_its_networks_it_clusters_and_says_so(tmp_path, caplog):
    diarization = NeuralDiarizer(folder=tmp_path).begin(options=TranscriptionOptions())
    for clip in cutting.clips([load("dialogue.flac")], pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    assert len({turn.speaker for turn in diarization.turns()}) == 2
    assert diarization.name == "clustering"
    (note,) = diarization.notes
    assert note.startswith("The speakers of this recording were told apart by a simpler method: ")
    assert "missing" in caplog.text


@pytest.mark.slow
def test_memory_holds_less_than_a_minute(tmp_path):
    """Six minutes are 22 MB, as are the arrays of the networks for one window."""
    import tracemalloc

    clip = np.tile(load("dialogue.flac"), 2)[: ms_to_samples(30_000)]
    diarization = begin()
    diarization.add(0, clip)
    tracemalloc.start()
    try:
        for number in range(1, 12):
            diarization.add(number * 30_000, clip)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def by_telephone(samples):
    """Return the samples as a telephone has them: 300 to 3,400 Hz."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / 16_000)
    spectrum[(hertz < 300) | (hertz > 3_400)] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def in_a_room(samples):
    """Return the samples with an echo of a third of a second."""
    chance = np.random.default_rng(0)
    answer = np.zeros(6_400)
    answer[0], answer[800:] = 1, chance.standard_normal(5_600) * np.exp(-np.arange(5_600) / 1_600) * 0.06
    return np.convolve(samples, answer)[: len(samples)].astype(np.float32)


def from_far_away(samples):
    return samples * np.float32(10 ** (-32 / 20))


@pytest.mark.long
@pytest.mark.parametrize("speaker", ["S1", "S2"])
@pytest.mark.parametrize("change", [by_telephone, in_a_room, from_far_away])
def test_one_voice_is_one_speaker_whatever_it_comes_through(speaker, change):
    """Clustering hears a second speaker as soon as a voice comes through a telephone."""
    pause = np.zeros(8_000, dtype=np.float32)
    said = [part for one in spoken_by("dialogue.flac", speaker) for part in (one, pause)]
    changed = [part for one in spoken_by("dialogue.flac", speaker) for part in (change(one), pause)]
    assert {turn.speaker for turn in heard(np.concatenate([*said, *changed]))} == {"S1"}


@cache
def read_aloud(name):
    """Return a recording of a person who reads."""
    (path,) = references.READINGS.glob(f"{name}.flac")
    return np.concatenate(list(audio.windows(path, max_duration_ms=60_000)))


READER = [f"austen-0{number}" for number in (870, 880, 890, 920, 930)]


@pytest.mark.long
def test_reader_is_one_speaker_when_her_band_changes():
    """Her prints are too unlike for one voice until what the telephone makes of them is taken out."""
    whole = np.concatenate([read_aloud(name) for name in READER])[: 20 * 16_000]
    half = len(whole) // 2
    pause = np.zeros(4_800, dtype=np.float32)
    for parts in ((whole[:half], pause, by_telephone(whole[half:])), (by_telephone(whole[:half]), pause, whole[half:])):
        assert {turn.speaker for turn in heard(np.concatenate(parts))} == {"S1"}


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"num_speakers": 2}, {"min_speakers": 2}])
def test_two_people_who_are_handed_over_to_a_telephone_are_the_same_two(options):
    reader, president = np.concatenate([read_aloud(name) for name in READER[:2]]), read_aloud("kennedy")
    reader, president = reader[: 9 * 16_000], president[: 9 * 16_000]
    pause = np.zeros(4_800, dtype=np.float32)
    parts = [reader, president, by_telephone(reader), by_telephone(president)]
    found = heard(np.concatenate([sound for part in parts for sound in (part, pause)]), **options)
    starts_ms = np.cumsum([0] + [samples_to_ms(len(part) + len(pause)) for part in parts]).tolist()
    who = [{speaker_at(found, at_ms + moment_ms) for moment_ms in (2_000, 5_000)} - {None} for at_ms in starts_ms[:4]]
    assert who == [{"S1"}, {"S2"}, {"S1"}, {"S2"}]


@pytest.mark.long
def test_two_people_of_whom_one_is_on_a_telephone_stay_two():
    reader, president = read_aloud(READER[0]), read_aloud("kennedy")
    for one, other in ((reader, by_telephone(president)), (by_telephone(reader), president)):
        found = heard(np.concatenate([one, np.zeros(4_800, dtype=np.float32), other]))
        assert {turn.speaker for turn in found} == {"S1", "S2"}


@pytest.mark.long
def test_more_speakers_than_people_can_be_asked_for():
    """The number of the customer counts more than what bands say."""
    whole = np.concatenate([read_aloud(name) for name in READER])[: 20 * 16_000]
    half = len(whole) // 2
    mixed = np.concatenate([whole[:half], by_telephone(whole[half:])])
    assert len({turn.speaker for turn in heard(mixed, num_speakers=2)}) == 2


MEETINGS = references.of_folder(references.MEETINGS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pandas, a dependency of pyannote.metrics, warns on import
def test_speakers_of_real_meetings():
    """Clustering has an error of 36 % on these, and finds 12 of 40 speakers. docs/quality.md has all figures."""
    scores = [
        evaluate.score(meeting, engine=evaluate.NoEngine(), diarizer=NeuralDiarizer(), options=TranscriptionOptions())
        for meeting in MEETINGS
    ]
    assert [one.error for one in scores] == [""] * 13
    assert evaluate.total(scores).diarization_error_rate < 0.25
    assert sum(min(one.speakers, one.speakers_found) for one in scores) >= 22


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trn03", "trn05", "trn09"])
def test_two_people_of_a_real_meeting_are_told_apart(name):
    (meeting,) = [one for one in MEETINGS if one.path.stem == name]
    samples = np.concatenate(list(audio.windows(meeting.path, max_duration_ms=60_000)))
    assert len({turn.speaker for turn in heard(samples)}) == 2
