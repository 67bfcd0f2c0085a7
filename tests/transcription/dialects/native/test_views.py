"""The native addresses; what all dialects share is in tests/dialects/test_contract.py."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from billing import statements
from billing.models import Wallet
from tests.conftest import AUDIO, text_of
from tests.fixtures import hostile
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs, recognition
from transcription.jobs import events, work
from transcription.jobs.charging import TextMeter
from transcription.models import Job, JobItem, Media
from transcription.speech.engines.choice import WHISPER, Choice
from transcription.speech.transcript import Segment


def finish(job, text="hello there"):
    item = jobs.claim(job.items.get().pk)
    jobs.finish_item(item, transcript=make_transcript(text))
    job.refresh_from_db()
    return job


def run_all():
    for item in JobItem.objects.filter(status="queued"):
        work.run_item(item.pk)


def test_created_job_looks_as_in_the_seed(api):
    response = api.transcribe(model="standard", language="en")
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"job_id", "status", "model", "message"}
    assert (body["status"], body["model"], body["message"]) == ("queued", "standard", "Job queued for processing.")


def test_both_headers_are_read(api):
    for headers in (
        {"X-API-Key": api.key},
        {"Authorization": f"Bearer {api.key}"},
        {"Authorization": f"bearer {api.key}"},
    ):
        assert api.client.get("/v1/jobs", headers=headers).status_code == 200


@pytest.mark.long
def test_two_speakers_are_told_apart_and_the_price_is_that_of_the_started_seconds(api, organization, engine):
    before = statements.balance(organization).balance_micros
    job_id = api.transcribe("dialogue.mp3").json()["job_id"]
    run_all()
    result = api.get(f"/v1/jobs/{job_id}/result").json()
    assert result["text"].lower() == text_of("dialogue.mp3")
    assert [speaker["id"] for speaker in result["speakers"]] == ["S1", "S2"]
    assert {word["speaker"] for segment in result["segments"] for word in segment["words"]} == {"S1", "S2"}
    job = api.get(f"/v1/jobs/{job_id}").json()
    started_seconds = -(-Job.objects.get().duration_ms // 1000)
    spent = before - statements.balance(organization).balance_micros
    # 300,000 micro-dollars an hour, rounded half up to one.
    assert spent == (started_seconds * 300_000 + 1800) // 3600
    assert job["cost_dollars"] == f"0.{spent:06d}"
    assert job["progress"] == 100


def test_silence_is_an_empty_transcript(api, engine):
    job_id = api.transcribe("silence.wav").json()["job_id"]
    run_all()
    assert api.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"
    result = api.get(f"/v1/jobs/{job_id}/result").json()
    assert (result["text"], result["segments"], result["speakers"]) == ("", [], [])


@pytest.mark.long
def test_speakers_are_left_out_on_request(api, engine):
    job_id = api.transcribe("dialogue.mp3", diarize="false").json()["job_id"]
    run_all()
    result = api.get(f"/v1/jobs/{job_id}/result").json()
    assert result["speakers"] == []
    assert result["segments"][0]["words"][0]["speaker"] is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("wanted", "content_type", "start"),
    [
        ("txt", "text/plain", b"Speaker 1"),
        ("srt", "application/x-subrip", b"1\n00:00:00,000"),
        ("vtt", "text/vtt", b"WEBVTT"),
        ("tsv", "text/tab-separated-values", b"start\tend\ttext\n"),
    ],
)
def test_result_in_every_format(api, organization, wanted, content_type, start):
    job = finish(make_job(organization))
    response = api.get(f"/v1/jobs/{job.pk}/result", format=wanted)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(content_type)
    assert response.headers["Content-Disposition"] == f'attachment; filename="{job.pk}.{wanted}"'
    assert response.content.startswith(start)


def test_result_is_written_as_asked(api, organization):
    job = finish(make_job(organization))
    whole = api.get(f"/v1/jobs/{job.pk}/result", format="srt").content.decode()
    narrow = api.get(
        f"/v1/jobs/{job.pk}/result", format="srt", max_chars_per_line=10, max_lines=1, speaker_labels="false"
    )
    lines = [line for line in narrow.content.decode().splitlines() if line and "-->" not in line]
    assert max(map(len, lines)) <= 10
    assert "Speaker" in whole
    assert "Speaker" not in narrow.content.decode()


def test_option_that_a_format_has_not_is_refused(api, organization):
    job = finish(make_job(organization))
    response = api.get(f"/v1/jobs/{job.pk}/result", format="txt", max_lines=1)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_lines")


def test_unknown_format_is_refused(api, organization):
    job = finish(make_job(organization))
    response = api.get(f"/v1/jobs/{job.pk}/result", format="pdf")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "format")


def test_result_is_404_until_completed(api, organization):
    job = make_job(organization)
    response = api.get(f"/v1/jobs/{job.pk}/result")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "result_not_found")
    assert "result_url" not in api.get(f"/v1/jobs/{job.pk}").json()


def test_queued_job_says_that_the_model_is_still_coming(api, organization, settings, tmp_path):
    settings.ENGINE, settings.ENGINE_CHOICE_FILE = "auto", tmp_path / "engine.json"
    job = make_job(organization)
    assert "message" not in api.get(f"/v1/jobs/{job.pk}").json()
    recognition.remember_choice(Choice(WHISPER, is_final=False, received_bytes=5_000_000, total_bytes=9_000_000))
    shown = api.get(f"/v1/jobs/{job.pk}").json()
    assert shown["status"] == "queued"
    assert shown["message"] == "The speech model is being downloaded (5 of 9 MB). Recordings wait for it."
    jobs.cancel(job)
    assert "message" not in api.get(f"/v1/jobs/{job.pk}").json()


def test_list_is_newest_first_and_only_ours(api, stranger, organization, charlies):
    ids = [str(make_job(organization).pk) for _ in range(3)]
    make_job(charlies)
    body = api.get("/v1/jobs").json()
    assert [job["id"] for job in body["jobs"]] == ids[::-1]
    assert (body["limit"], body["offset"]) == (20, 0)
    assert [job["id"] for job in api.get("/v1/jobs", limit=1, offset=1).json()["jobs"]] == [ids[1]]
    assert len(stranger.get("/v1/jobs").json()["jobs"]) == 1


def test_list_can_be_filtered_by_status(api, organization):
    done = finish(make_job(organization))
    make_job(organization)
    assert [job["id"] for job in api.get("/v1/jobs", status="completed").json()["jobs"]] == [str(done.pk)]


def test_list_asks_the_database_a_fixed_number_of_questions(api, organization, django_assert_max_num_queries):
    for _ in range(5):
        make_job(organization)
    api.get("/v1/jobs")
    with django_assert_max_num_queries(2):
        assert len(api.get("/v1/jobs").json()["jobs"]) == 5


@pytest.mark.parametrize("bad", ["nonsense", "%00", "a" * 5000, "{00000000-0000-0000-0000-000000000000}"])
def test_impossible_job_id_is_404(api, bad):
    response = api.get(f"/v1/jobs/{bad}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == 404


def test_balance_as_in_the_seed(api):
    body = api.get("/v1/balance").json()
    assert (body["balance_cents"], body["balance_dollars"], body["expired"], body["recent_topups"]) == (
        100,
        "1.00",
        False,
        [],
    )


@pytest.mark.long
def test_no_money_names_the_shortfall(api, tmp_path):
    # An hour and 40 minutes of silence in the premium model costs exactly the dollar there is; a second more does not.
    sound = hostile.wav(tmp_path, data=bytes(6001 * 2 * 1000), rate=1000)
    response = api.transcribe("silence.wav", sound.read_bytes(), model="premium")
    error = response.json()["error"]
    assert response.status_code == 402
    assert (error["required_cents"], error["available_cents"]) == (101, 100)
    assert not Media.objects.exists()


def test_empty_balance_is_told_before_the_file_is_looked_at(api, organization):
    """A probe costs a process and a minute of a core at worst: not for somebody who cannot pay for a second."""
    Wallet.objects.update(balance_micros=82)
    response = api.transcribe("talk.mp3", b"no recording at all")
    assert (response.status_code, response.json()["error"]["required_micros"]) == (402, 83)
    Wallet.objects.update(balance_micros=0)
    assert api.transcribe("talk.mp3", b"no recording at all").status_code == 402


HOSTILE = {
    "empty": (hostile.empty, 400, "empty_audio"),
    "text": (hostile.text, 400, "not_audio"),
    "random": (hostile.random_bytes, 400, "not_audio"),
    "playlist": (hostile.playlist, 400, "not_audio"),
    "hidden playlist": (hostile.hidden_playlist, 400, "not_audio"),
    "archive": (hostile.archive, 400, "not_audio"),
    "image": (hostile.image, 400, "not_audio"),
    "truncated mp3": (hostile.truncated, 400, "truncated_audio"),
    "no moov": (hostile.no_moov, 400, None),
    "0 seconds": (hostile.wav, 400, "no_duration"),
    "flac bomb": (hostile.flac_bomb, 400, "audio_too_long"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_without_trace(api, organization, tmp_path, name):
    make, status, error_type = HOSTILE[name]
    path = make(tmp_path)
    before = statements.balance(organization)
    response = api.transcribe("talk.mp3", path.read_bytes())
    assert response.status_code == status, response.content
    if error_type:
        assert response.json()["error"]["type"] == error_type
    assert statements.balance(organization) == before
    assert not Media.objects.exists()
    assert not Job.objects.exists()


def test_cut_file_is_accepted_on_request(api, organization, tmp_path):
    content = hostile.truncated(tmp_path, file="sentence-slt.wav", part=0.6).read_bytes()
    refused = api.transcribe("talk.wav", content)
    assert refused.json()["error"]["type"] == "truncated_audio"
    assert "accept_truncated=true" in refused.json()["error"]["message"]
    assert api.transcribe("talk.wav", content, accept_truncated="true").status_code == 201
    assert Media.objects.get().duration_ms == pytest.approx(2_100, abs=50)


def test_no_file(api):
    error = api.post("/v1/transcribe", {"model": "standard"}).json()["error"]
    assert (error["code"], error["type"], error["param"]) == (400, "missing_field", "file")
    assert api.post("/v1/transcribe", {"file": "only text"}).json()["error"]["type"] == "missing_field"


def test_two_files(api):
    content = (AUDIO / "sentence-slt.wav").read_bytes()
    files = [SimpleUploadedFile("a.wav", content), SimpleUploadedFile("b.wav", content)]
    assert api.post("/v1/transcribe", {"file": files}).json()["error"]["param"] == "file"


@pytest.mark.parametrize(("field", "value"), [("model", "huge"), ("language", "xx"), ("prompt", "x" * 100_000)])
def test_bad_field_leaves_no_trace(api, field, value):
    response = api.transcribe(**{field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert not Media.objects.exists()


def test_nul_in_the_prompt_is_refused(api):
    response = api.post("/v1/transcribe", {"file": SimpleUploadedFile("a.wav", b"x"), "prompt": "a\x00b"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


def test_file_that_is_longer_than_it_says_costs_nothing_and_gives_nothing(api, organization, engine):
    """A crafted container may show the probe a second of an hour."""
    before = statements.balance(organization).balance_micros
    job_id = api.transcribe("dialogue.mp3").json()["job_id"]
    Media.objects.update(duration_ms=1000)
    run_all()
    job = api.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["error"]["type"], job["cost_cents"]) == ("failed", "length_mismatch", 0)
    assert statements.balance(organization).balance_micros == before


def test_more_than_a_megabyte_of_fields_is_413(api):
    assert api.transcribe(prompt="x" * 2_000_000).status_code == 413


def test_language_that_the_engine_does_not_know_is_refused_at_once(api):
    error = api.transcribe(language="es").json()["error"]
    assert (error["param"], error["message"]) == ("language", "The language 'es' is not supported. Languages: en.")


def test_tricky_file_name_is_only_a_label(api):
    assert (
        api.transcribe("../../\u202eexe.3pm/..\\evil\x00.wav", (AUDIO / "sentence-slt.wav").read_bytes()).status_code
        == 201
    )
    assert "/" not in Media.objects.get().name
    assert "\u202e" not in Media.objects.get().name


def test_cancel(api, stranger, organization):
    job = make_job(organization)
    response = api.post(f"/v1/jobs/{job.pk}/cancel")
    assert (response.status_code, response.json()["status"], response.json()["cost_cents"]) == (200, "canceled", 0)
    assert statements.balance(organization).held_micros == 0
    again = api.post(f"/v1/jobs/{job.pk}/cancel")
    assert (again.status_code, again.json()["error"]["type"]) == (409, "job_has_ended")
    assert stranger.post(f"/v1/jobs/{job.pk}/cancel").status_code == 404


def test_delete(api, organization):
    job = finish(make_job(organization))
    spent = statements.balance(organization).balance_micros
    response = api.client.delete(f"/v1/jobs/{job.pk}", headers={"X-API-Key": api.key})
    assert (response.status_code, response.json()) == (200, {"id": str(job.pk), "deleted": True})
    assert api.get(f"/v1/jobs/{job.pk}").status_code == 404
    assert not Media.objects.exists()
    assert statements.balance(organization).balance_micros == spent


def watched(api, job, *, after_progress=lambda: None):
    """Return the events of a job as (name, data). after_progress: called when the first progress is read."""
    from asgiref.sync import async_to_sync, sync_to_async
    from django.test import AsyncClient

    async def read():
        response = await AsyncClient().get(f"/v1/jobs/{job.pk}/events", headers={"X-API-Key": api.key})
        assert response.headers["Content-Type"] == "text/event-stream"
        parts = []
        async for part in response.streaming_content:
            parts.append(part.decode())
            if part.startswith(b"event: progress"):
                await sync_to_async(after_progress)()
        return parts

    lines = [part.splitlines() for part in async_to_sync(read)() if part.startswith("event: ")]
    return [(line[0].removeprefix("event: "), json.loads(line[1].removeprefix("data: "))) for line in lines]


@pytest.mark.django_db(transaction=True)  # The job is looked up in another thread.
def test_events_of_a_finished_job_are_its_end(api, organization):
    job = finish(make_job(organization))
    assert watched(api, job) == [("end", api.get(f"/v1/jobs/{job.pk}").json())]


@pytest.mark.django_db(transaction=True)  # The job is looked up in another thread.
def test_job_that_is_canceled_after_it_was_watched_costs_what_was_shown(api, organization):
    job = make_job(organization)
    worker = jobs.claim(job.items.get().pk)
    meter = TextMeter(worker)
    meter.add(Segment(0, 4_200, "all that was said", (), None))
    shown = {"item_id": str(worker.pk), "length_ms": meter.length_ms, "price_micros": meter.price_micros}
    events.publish(job.pk, "segment", start=0.0, end=4.2, text="all that was said", shown=shown)
    events.publish(job.pk, "progress", progress=99)
    events.publish(job.pk, events.END)
    answers = []
    told = watched(api, job, after_progress=lambda: answers.append(api.post(f"/v1/jobs/{job.pk}/cancel").json()))
    assert told[0] == ("segment", {"start": 0.0, "end": 4.2, "text": "all that was said"})
    assert [name for name, _ in told] == ["segment", "progress", "end"]
    [canceled] = answers
    assert (canceled["status"], canceled["cost_dollars"]) == ("canceled", "0.000417")
    assert told[2][1] == canceled == api.get(f"/v1/jobs/{job.pk}").json()
    total = api.get("/v1/usage").json()["total"]
    assert (total["requests"], total["cost_micros"], total["audio_seconds"]) == (1, 417, 4.2)
    assert api.get("/v1/balance").json()["held_micros"] == 0


@pytest.mark.django_db(transaction=True)  # The job is looked up in another thread.
def test_events_of_a_running_job_end_with_it(api, organization):
    job = make_job(organization)
    events.publish(job.pk, "progress", progress=50)
    events.publish(job.pk, events.END)
    told = watched(api, job, after_progress=lambda: finish(job))
    assert told[0] == ("progress", {"progress": 50})
    assert told[1:] == [("end", api.get(f"/v1/jobs/{job.pk}").json())]
    assert told[1][1]["status"] == "completed"


def test_models_of_other_apis_are_listed_with_their_price_and_not_taken_here(api):
    listed = {model["id"]: model["price_per_hour_dollars"] for model in api.get("/v1/models").json()["data"]}
    assert listed["standard"] == "0.300000"
    assert listed["whisper-1"] == "0.360000"
    assert listed["gpt-transcribe"] == "0.270000"
    assert not [name for name in listed if "*" in name]
    refused = api.transcribe(model="whisper-1")
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "model"
