"""TranscribeAPI's answers: the documentation's example, and what `exclude` leaves."""

import json
from datetime import UTC, datetime

import pytest

from tests.transcription.factories import make_transcript
from transcription.dialects.transcribeapi import answers
from transcription.dialects.transcribeapi.answers import Bill
from transcription.dialects.transcribeapi.wire import View
from transcription.speech.transcript import Segment, Transcript, Word

BILL = Bill(duration_ms=709_000, rate_micros=150_000, cost_micros=29_542, available_micros=4_970_458)
JOB = "00000000-0000-4000-8000-000000000001"


def show(transcript=None, **view):
    excluded = frozenset(view.pop("excluded", ()))
    return answers.show_result(
        transcript or make_transcript("hello there"),
        job_id=JOB,
        model="whisper-large-v3-turbo",
        status="completed",
        bill=BILL,
        view=View(excluded=excluded, **view),
    )


def test_whole_answer():
    assert show(reference="call 7") == {
        "job_id": JOB,
        "status": "completed",
        "job_status": "completed",
        "reference_id": "call 7",
        "model": "whisper-large-v3-turbo",
        "duration_seconds": 10.0,
        "billed_seconds": 709,
        "price_per_hour": 0.15,
        "cost": 0.029542,
        "remaining_balance": 4.970458,
        "text": "hello there",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhello there\n",
        "segments": [{"id": 0, "start_seconds": 0.0, "end_seconds": 0.7, "text": "hello there"}],
        "detected_language": "en",
    }


def test_documented_amounts():
    """The documentation's own job: 709 seconds at $0.15 an hour."""
    shown = BILL.shown()
    assert (shown["billed_seconds"], shown["cost"], shown["remaining_balance"]) == (709, 0.029542, 4.970458)


@pytest.mark.parametrize("available_micros", [0, -5_000_000, 1])
def test_remaining_balance_is_a_number_in_every_case(available_micros):
    """The package for JavaScript takes null and an empty text for 0, and charges the card."""
    shown = Bill(duration_ms=1, rate_micros=1, cost_micros=0, available_micros=available_micros).shown()
    assert isinstance(shown["remaining_balance"], float)


def test_word_granularity_has_a_cue_for_each_word():
    vtt = show(granularity="word")["vtt"]
    assert vtt == ("WEBVTT\n\n00:00:00.000 --> 00:00:00.300\nhello\n\n00:00:00.400 --> 00:00:00.700\nthere\n")


def test_word_that_is_markup_stays_a_word():
    words = (Word("<b>&", 0, 0, 1.0),)
    transcript = Transcript(
        language="en", language_probability=None, duration_ms=10, engine="x", segments=(Segment(0, 10, "<b>&", words),)
    )
    assert "00:00:00.000 --> 00:00:00.001\n&lt;b&gt;&amp;\n" in show(transcript, granularity="word")["vtt"]


def test_subtitles_name_no_speaker():
    assert "<v" not in show()["vtt"]


@pytest.mark.parametrize(
    ("excluded", "gone"),
    [
        ({"vtt"}, {"vtt"}),
        ({"vtt", "segments"}, {"vtt", "segments"}),
        ({"billing"}, {"billed_seconds", "price_per_hour", "cost", "remaining_balance"}),
        ({"metadata"}, {"job_id", "status", "job_status", "model", "duration_seconds"}),
        ({"detected_language"}, {"detected_language"}),
        ({"cost"}, {"cost"}),
    ],
)
def test_excluded_fields_are_left_out(excluded, gone):
    assert show().keys() - show(excluded=excluded).keys() == gone


AROUND = {"metadata", "billing", "detected_language"}


def test_one_transcript_field_alone_is_a_bare_value():
    whole = show()
    assert show(excluded={"vtt", "segments", *AROUND}) == whole["text"]
    assert show(excluded={"text", "segments", *AROUND}) == whole["vtt"]
    assert show(excluded={"text", "vtt", *AROUND}) == whole["segments"]


def test_bare_text_that_looks_like_json_is_sent_as_a_json_text():
    """The packages parse the body first: "1984" would become a number."""
    bare = show(make_transcript("1984"), excluded={"vtt", "segments", *AROUND})
    assert json.loads(json.dumps(bare)) == "1984"


@pytest.mark.parametrize(
    "excluded",
    [{"vtt", "segments", "metadata", "billing"}, {"vtt", *AROUND}, {"text", "vtt", "segments", *AROUND}],
)
def test_anything_else_stays_an_object(excluded):
    assert isinstance(show(excluded=excluded), dict)


def test_silence_has_no_language_and_no_segments():
    silence = Transcript(language=None, language_probability=None, duration_ms=5_000, segments=(), engine="x")
    shown = show(silence)
    assert (shown["text"], shown["segments"], shown["detected_language"]) == ("", [], None)
    assert shown["vtt"] == "WEBVTT\n"


def test_time_as_documented():
    assert answers.show_time(datetime(2026, 6, 4, 12, tzinfo=UTC)) == "2026-06-04T12:00:00.000Z"
