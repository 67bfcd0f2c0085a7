"""What each option of POST /v1/transcribe does to the result, with a real Whisper."""

import pytest

from billing import statements
from billing.models import Entry
from tests.fixtures import tiny_whisper
from transcription.jobs import work
from transcription.models import Job, JobItem, Media

pytestmark = pytest.mark.usefixtures("whisper_here")
TEXTS = {name: sample.text for name, sample in tiny_whisper.samples().items()}


@pytest.fixture
def result_of(api):
    """Return a caller that sends a recording, lets it be transcribed and returns the result."""

    def ask(content, **fields):
        accepted = api.transcribe("talk.wav", content, **fields)
        assert accepted.status_code == 201, accepted.content
        for item in JobItem.objects.filter(status="queued"):
            work.run_item(item.pk)
        answer = api.get(f"/v1/jobs/{accepted.json()['job_id']}/result")
        assert answer.status_code == 200, Job.objects.get().error_message
        return answer.json()

    return ask


@pytest.mark.long
def test_language_is_found_out_and_words_have_times(result_of, wav, said):
    result = result_of(wav(said("es-hola.wav")))
    assert (result["text"], result["language"], result["task"]) == (TEXTS["es-hola.wav"], "es", "transcribe")
    assert result["language_probability"] > 0.5
    words = [word for segment in result["segments"] for word in segment["words"]]
    assert " ".join(word["word"] for word in words) == result["text"]
    assert {word["speaker"] for word in words} == {"S1"}


@pytest.mark.long
def test_translation_is_english_and_the_language_is_what_was_spoken(result_of, wav, said):
    result = result_of(wav(said("es-hola.wav")), task="translate")
    assert (result["task"], result["language"]) == ("translate", "es")
    assert {"hello", "good", "thank"} <= set(result["text"].split())
    assert result["notes"] == []


@pytest.mark.long
def test_words_are_left_out_on_request(result_of, wav, said):
    result = result_of(wav(said("en-hello.wav")), word_timestamps="false")
    assert result["text"] == TEXTS["en-hello.wav"]
    assert [segment["words"] for segment in result["segments"]] == [[]] * len(result["segments"])


@pytest.mark.long
def test_channels_are_transcribed_apart_each_in_its_language_and_each_is_charged(result_of, wav, said, organization):
    before = statements.balance(organization).balance_micros
    result = result_of(wav(said("en-hello.wav"), said("es-hola.wav")), channels="split")
    texts = {segment["speaker"]: segment["text"] for segment in result["segments"]}
    assert texts == {"S1": TEXTS["en-hello.wav"], "S2": TEXTS["es-hola.wav"]}
    assert {speaker["id"] for speaker in result["speakers"]} == {"S1", "S2"}
    job = Job.objects.get()
    once = (-(-job.duration_ms // 1000) * 300_000 + 1800) // 3600
    assert job.quoted_micros == job.cost_micros == 2 * once
    assert statements.balance(organization).balance_micros == before - 2 * once
    entry = Entry.objects.get(reference=job.hold_reference)
    assert (entry.description, entry.details["channels"]) == ("Transcription (2 channels)", 2)


@pytest.mark.long
def test_mixed_channels_are_charged_once(result_of, wav, said):
    result_of(wav(said("en-hello.wav"), said("es-hola.wav")))
    job = Job.objects.get()
    assert job.cost_micros == (-(-job.duration_ms // 1000) * 300_000 + 1800) // 3600


@pytest.mark.long
def test_one_channel_apart_is_one_speaker_and_says_so(result_of, wav, said):
    result = result_of(wav(said("en-dialogue.flac")), channels="split")
    assert {segment["speaker"] for segment in result["segments"]} == {"S1"}
    assert result["notes"] == ["The recording has one channel: all of it is shown as one speaker."]


def test_more_channels_than_can_be_apart_are_refused_without_trace(api, wav, said, organization):
    answer = api.transcribe("talk.wav", wav(*[said("en-hello.wav")] * 9), channels="split")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "channels")
    assert "9 channels" in error["message"]
    assert not Media.objects.exists()
    assert statements.balance(organization).held_micros == 0


@pytest.mark.long
def test_wish_for_several_languages_reaches_the_work(result_of, wav, said):
    """What it does needs minutes of speech: see test_pipeline."""
    assert result_of(wav(said("es-hola.wav")), mixed_languages="true")["text"] == TEXTS["es-hola.wav"]
    assert Job.objects.get().options["mixed_languages"] is True


@pytest.mark.long
def test_prompt_and_hotwords_reach_the_engine(result_of, wav, said):
    """What a hint does is the model's own affair: it must be taken, and no note may say that it was not."""
    result = result_of(wav(said("en-hello.wav")), prompt="good morning", hotwords="hello, tomorrow")
    assert (result["text"], result["notes"]) == (TEXTS["en-hello.wav"], [])
    assert Job.objects.get().options["hotwords"] == ["hello", "tomorrow"]


@pytest.mark.long
@pytest.mark.parametrize(("fields", "speakers"), [({}, 2), ({"num_speakers": "1"}, 1), ({"diarize": "false"}, 0)])
def test_number_of_speakers_is_obeyed(result_of, wav, said, fields, speakers):
    result = result_of(wav(said("en-dialogue.flac")), **fields)
    assert len(result["speakers"]) == speakers


def test_models_and_languages_are_those_of_the_engine(api):
    models = api.get("/v1/models").json()["data"]
    assert [one["id"] for one in models[:2]] == ["standard", "premium"]
    # The names of other APIs stand for these two.
    assert {(one["engine"], *one["tasks"]) for one in models} == {("faster-whisper/tiny", "transcribe", "translate")}
    languages = api.get("/v1/languages").json()["languages"]
    assert len(languages) == 99
    assert {"code": "es", "name": "Spanish", "models": ["standard", "premium"]} in languages
