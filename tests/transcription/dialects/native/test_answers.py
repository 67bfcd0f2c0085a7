from datetime import UTC, datetime, timedelta, timezone

from transcription.dialects.native import answers
from transcription.models import Job, Status
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript, Word

OFFERS = {
    "standard": ModelCapabilities(engine="faster-whisper/turbo", languages=frozenset({"en", "es"}), translates=False),
    "premium": ModelCapabilities(
        engine="faster-whisper/large", languages=frozenset({"en", "es", "de"}), translates=True
    ),
}


def job(**fields):
    """Return a completed job that is not in the database."""
    return Job(
        **{
            "id": "a1b2",
            "status": Status.COMPLETED,
            "model": "standard",
            "options": TranscriptionOptions().to_dict(),
            "progress": 100,
            "duration_ms": 3_600_000,
            "cost_micros": 300_000,
            "created_at": datetime(2026, 4, 19, 19, 13, 18, 999, tzinfo=UTC),
            "finished_at": datetime(2026, 4, 19, 21, 15, 22, tzinfo=timezone(timedelta(hours=2))),
            **fields,
        }
    )


def test_job_looks_as_in_the_seed():
    shown = answers.show_job(job())
    seed = {
        "id": "a1b2",
        "status": "completed",
        "type": "transcribe",
        "model": "standard",
        "duration_seconds": 3600,
        "cost_cents": 30,
        "created_at": "2026-04-19 19:13:18",
        "completed_at": "2026-04-19 19:15:22",
        "error": None,
        "result_url": "/v1/jobs/a1b2/result",
    }
    assert {name: shown[name] for name in seed} == seed
    assert shown["cost_dollars"] == "0.300000"


def test_cost_is_unknown_while_it_runs_and_zero_when_nothing_was_charged():
    running = job(status=Status.PROCESSING, cost_micros=None, finished_at=None)
    assert answers.show_job_line(running)["cost_cents"] is None
    assert answers.show_job_line(running)["completed_at"] is None
    failed = job(status=Status.FAILED, cost_micros=None)
    assert (answers.show_job_line(failed)["cost_cents"], answers.show_job_line(failed)["cost_dollars"]) == (
        0,
        "0.000000",
    )
    assert "result_url" not in answers.show_job(failed)


def test_half_a_cent_is_rounded_up():
    assert answers.show_job_line(job(cost_micros=5_000))["cost_cents"] == 1
    assert answers.show_job_line(job(cost_micros=4_999))["cost_cents"] == 0
    assert answers.show_job_line(job(cost_micros=4_999))["cost_dollars"] == "0.004999"


def test_every_status_has_a_word():
    assert set(answers.STATUS_WORDS) == set(Status.values)


def test_words_are_left_out_on_request_and_nothing_else_changes():
    word = Word("hello", 0, 400, 0.9, "S1")
    transcript = Transcript("en", None, 1000, (Segment(0, 400, "hello", (word,), "S1"),), "fake")
    whole = answers.show_result(transcript, job=job())
    bare = answers.show_result(transcript, job=job(options=TranscriptionOptions(word_timestamps=False).to_dict()))
    assert [one["word"] for one in whole["segments"][0]["words"]] == ["hello"]
    assert bare["segments"][0]["words"] == []
    whole["segments"][0]["words"] = []
    assert bare == whole


def test_models_and_languages_are_listed():
    rates = {"standard": 300_000, "premium": 600_000}
    listed = answers.show_models(OFFERS, rates_micros=rates, diarizer="pyannote")
    assert [(one["id"], one["tasks"], one["price_per_hour_dollars"]) for one in listed["data"]] == [
        ("standard", ["transcribe"], "0.300000"),
        ("premium", ["transcribe", "translate"], "0.600000"),
    ]
    names = {"en": "English", "es": "Spanish", "de": "German"}
    assert answers.show_languages(OFFERS, names=names) == {
        "languages": [
            {"code": "de", "name": "German", "models": ["premium"]},
            {"code": "en", "name": "English", "models": ["standard", "premium"]},
            {"code": "es", "name": "Spanish", "models": ["standard", "premium"]},
        ]
    }
