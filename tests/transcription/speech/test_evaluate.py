from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fixtures import recordings
from tests.transcription.speech.fakes import FakeEngine
from transcription.speech import evaluate, references
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.evaluate import Score, normalised, score, table, total
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn

# pandas and scikit-learn, dependencies of pyannote.metrics, emit warnings on import.
pytestmark = pytest.mark.filterwarnings("ignore")


def saying(text):
    """Return an engine that recognises these words in every clip."""
    engine = FakeEngine()
    engine.say(text)
    return engine


def engine_of_an_appointment():
    return saying("i would like to change the time")


def tried(reference, *, engine=None, diarizer=None):
    return score(
        reference, engine=engine or FakeEngine(), diarizer=diarizer, options=TranscriptionOptions(language="en")
    )


def test_words_are_compared_without_case_and_punctuation(labelled):
    (reference,) = references.of_folder(labelled)
    result = tried(reference, engine=saying("I WOULD like, to change a time of my own appointment!"))
    assert (result.words, result.substituted, result.deleted, result.inserted) == (10, 1, 0, 1)
    assert result.word_error_rate == pytest.approx(0.2)
    assert result.diarization_error_rate is None


def test_nothing_heard_is_all_words_missed(labelled):
    (reference,) = references.of_folder(labelled)
    assert tried(reference, engine=saying("")).deleted == 10


def test_words_heard_in_silence_are_counted():
    reference = references.Reference(recordings.named("noise.wav").path, "", ())
    result = Score(file="noise.wav")
    evaluate._compare_words(result, reference.text, "thank you", by_character=False)
    assert (result.inserted, result.word_error_rate) == (2, None)
    assert "2 too many" in table([result])


@pytest.mark.long
def test_speakers_are_compared():
    (reference,) = [one for one in references.of_folder(recordings.FOLDER) if one.path.name == "dialogue.flac"]
    result = tried(reference, diarizer=ClusteringDiarizer())
    assert (result.speakers, result.speakers_found) == (2, 2)
    assert result.diarization_error_rate < 0.05


def test_speakers_can_be_judged_without_an_engine():
    (reference,) = [one for one in references.of_folder(recordings.FOLDER) if one.path.name == "dialogue.flac"]
    result = tried(reference, engine=evaluate.NoEngine(), diarizer=ClusteringDiarizer())
    assert (result.words, result.speakers_found) == (0, 2)
    assert result.diarization_error_rate < 0.05


def test_everybody_taken_for_one_speaker_is_an_error(labelled):
    reference = (Turn(0, 10_000, "a"), Turn(10_000, 20_000, "b"))
    result = Score(file="x", duration_seconds=20)
    evaluate._compare_turns(result, reference, (Turn(0, 20_000, "S1"),), collar_seconds=0.0)
    assert result.diarization_error_rate == pytest.approx(0.5)
    assert result.confused_seconds == pytest.approx(10)


def test_people_who_speak_at_once_both_count():
    reference = (Turn(0, 10_000, "a"), Turn(5_000, 10_000, "b"))
    result = Score(file="x", duration_seconds=10)
    found = (Turn(0, 10_000, "S1"), Turn(5_000, 10_000, "S2", is_background=True))
    evaluate._compare_turns(result, reference, found, collar_seconds=0.0)
    assert (result.spoken_seconds, result.diarization_error_rate) == (15.0, 0.0)


def test_person_whose_own_turns_overlap_counts_once():
    reference = (Turn(5_000, 12_000, "a"), Turn(0, 10_000, "a"), Turn(12_000, 14_000, "b"))
    result = Score(file="x", duration_seconds=14)
    found = (Turn(0, 12_000, "S1"), Turn(12_000, 14_000, "S2"), Turn(12_500, 13_000, "S2"))
    evaluate._compare_turns(result, reference, found, collar_seconds=0.0)
    assert (result.spoken_seconds, result.diarization_error_rate) == (14.0, 0.0)


def test_file_that_is_no_audio_is_told_and_counts_as_missed(tmp_path):
    (tmp_path / "broken.wav").write_text("not audio")
    (tmp_path / "broken.txt").write_text("three little words")
    (reference,) = references.of_folder(tmp_path)
    result = tried(reference)
    assert (result.deleted, bool(result.error)) == (3, True)
    assert result.error in table([result])


def test_sum_weighs_by_words():
    scores = [Score(file="a", words=90, deleted=9), Score(file="b", words=10, deleted=10)]
    assert total(scores).word_error_rate == pytest.approx(0.19)


def test_languages_without_spaces_are_compared_by_character():
    result = Score(file="x")
    evaluate._compare_words(result, "今天天气好。", "今天天汽好", by_character=True)
    assert (result.words, result.substituted) == (5, 1)


def test_curly_apostrophes_and_full_width_letters_are_the_same():
    assert normalised("It’s  ＯＫ — really!") == "it's ok really"  # noqa: RUF001 - full-width on purpose


def test_command_prints_a_table_or_json(labelled, plug_engine, monkeypatch, capsys):
    plug_engine(f"{__name__}:engine_of_an_appointment")
    command = ["evaluate", str(labelled), "--engine", "fake", "--diarizer", "clustering"]
    monkeypatch.setattr(sys, "argv", command)
    assert evaluate.main() == 0
    assert "| call.wav | 3.5 s | 10 | 30.0% | 1 (1) |" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--json"])
    assert evaluate.main() == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["engine"], printed["diarizer"]) == ("fake", "clustering")
    assert (printed["all"]["word_error_rate"], printed["all"]["speakers_found"]) == (0.3, 1)


def test_command_without_anything_to_try_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", str(tmp_path)])
    assert evaluate.main() == 2
    assert "no recordings.json" in capsys.readouterr().err


def test_command_needs_a_folder_or_real(monkeypatch, capsys):
    for arguments in ([], ["somewhere", "--real"]):
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
        with pytest.raises(SystemExit):
            evaluate.main()
    assert "--real" in capsys.readouterr().err


SAYS_WHEN_NUMPY_IS_LOADED = """
import sys, threading
from transcription.speech import evaluate
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print("threads:", threading.active_count())
sys.meta_path.insert(0, Finder())
evaluate.main()
"""


@pytest.mark.long
def test_numpy_is_loaded_before_a_recording_has_threads(labelled):
    """Two threads that load it at once can end in an ImportError."""
    command = [sys.executable, "-c", SAYS_WHEN_NUMPY_IS_LOADED, str(labelled), "--engine", "none"]
    done = subprocess.run(command, cwd=references.PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[0] == "threads: 1", done.stderr
