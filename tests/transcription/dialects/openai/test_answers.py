import json

import pytest

from transcription.dialects.openai import answers
from transcription.dialects.openai.wire import Asked
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript, Word

WORDS = (
    Word("Hello", 100, 400, 0.9, "S1"),
    Word("there,", 500, 900, 0.5, "S1"),
    Word("Ann.", 900, 1200, 1.0, "S2", has_space_before=False),
)
SPOKEN = Transcript(
    language="de",
    language_probability=0.9,
    duration_ms=2500,
    segments=(
        Segment(100, 900, "Hello there,", WORDS[:2], "S1"),
        Segment(900, 1200, "Ann.", WORDS[2:], "S2"),
    ),
    engine="fake",
)
SILENT = Transcript(language=None, language_probability=None, duration_ms=1000, segments=(), engine="fake")


def asked(response_format="json", granularities=("segment",), **fields):
    return Asked(
        model="whisper-1",
        options=TranscriptionOptions(),
        format=response_format,
        granularities=frozenset(granularities),
        has_logprobs=fields.pop("has_logprobs", False),
        is_stream=False,
        **fields,
    )


def show(transcript, wanted):
    return answers.show(transcript, asked=wanted, job_id="7", cost_micros=1234)


def test_json():
    assert show(SPOKEN, asked()) == {
        "text": "Hello there,Ann.",
        "languages": [{"code": "de"}],
        "language": "german",
        "model": "whisper-1",
        "usage": {"type": "duration", "seconds": 2.5},
        "x_groq": {"id": "7"},
    }


def test_cost_is_stated_where_it_is_expected():
    assert show(SPOKEN, asked(has_cost=True))["usage"]["cost"] == 0.001234


def test_logprobs_of_words():
    shown = show(SPOKEN, asked(has_logprobs=True))["logprobs"]
    assert "".join(each["token"] for each in shown) == " Hello there,Ann."
    assert shown[1] == {"token": " there,", "logprob": -0.6931, "bytes": list(b" there,")}
    # "-0.0" is a number to few readers.
    assert json.dumps(shown[2]["logprob"]) == "0.0"


@pytest.mark.parametrize(
    ("granularities", "arrays"),
    [((), set()), (("segment",), {"segments"}), (("word",), {"words"}), (("word", "segment"), {"segments", "words"})],
)
def test_granularities_decide_which_arrays_appear(granularities, arrays):
    shown = show(SPOKEN, asked("verbose_json", granularities))
    assert {"segments", "words"} & set(shown) == arrays
    assert {"segments", "words"} & set(show(SPOKEN, asked("json", granularities))) == set()


def test_every_field_of_a_segment_is_a_number():
    shown = show(SPOKEN, asked("verbose_json", ("segment", "word")))
    assert (shown["task"], shown["duration"], shown["language"]) == ("transcribe", 2.5, "german")
    assert shown["words"][0] == {"word": "Hello", "start": 0.1, "end": 0.4}
    first = shown["segments"][0]
    assert first.pop("text") == "Hello there,"
    assert first.pop("speaker") == "A"
    assert first.pop("tokens") == []
    assert first == {
        "id": 0,
        "seek": 10,
        "start": 0.1,
        "end": 0.9,
        "temperature": 0.0,
        "avg_logprob": -0.3992,
        "compression_ratio": 0.6,
        "no_speech_prob": 0.0,
    }
    assert all(type(value) in (int, float) for value in first.values())


def test_segment_without_words_has_numbers_too():
    bare = Transcript("en", None, 1000, (Segment(0, 900, "Hello"),), "fake")
    assert show(bare, asked("verbose_json"))["segments"][0]["avg_logprob"] == 0.0
    impossible = Transcript("en", None, 1000, (Segment(0, 900, "a", (Word("a", 0, 1, 0.0),)),), "fake")
    assert show(impossible, asked("verbose_json"))["segments"][0]["avg_logprob"] == pytest.approx(-23.0259)


def test_silence_has_no_list_of_segments_and_a_language_that_is_text():
    shown = show(SILENT, asked("verbose_json", ("segment", "word")))
    assert (shown["text"], shown["language"], shown["languages"], shown["words"]) == ("", "unknown", [], [])
    assert "segments" not in shown
    assert show(SILENT, asked("diarized_json"))["segments"] == []


def test_translation_is_written_in_english():
    translated = Transcript("de", None, 2500, SPOKEN.segments, "fake", is_translated=True)
    shown = show(translated, asked("verbose_json"))
    assert (shown["task"], shown["language"], shown["languages"]) == ("translate", "english", [{"code": "de"}])


def test_diarized():
    shown = show(SPOKEN, asked("diarized_json"))
    assert (shown["task"], shown["duration"], shown["text"]) == ("transcribe", 2.5, "Hello there,Ann.")
    assert shown["segments"] == [
        {"type": "transcript.text.segment", "id": "seg_0", "start": 0.1, "end": 0.9, "text": "Hello there,",
         "speaker": "A"},
        {"type": "transcript.text.segment", "id": "seg_1", "start": 0.9, "end": 1.2, "text": "Ann.", "speaker": "B"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("speaker", "letter"), [("S1", "A"), ("S26", "Z"), ("S27", "AA"), ("S53", "BA"), ("Ann", "Ann"), (None, "A")]
)
def test_speakers_are_letters(speaker, letter):
    transcript = Transcript("en", None, 1000, (Segment(0, 900, "Hello", (), speaker),), "fake")
    assert show(transcript, asked("diarized_json"))["segments"][0]["speaker"] == letter


def read(chunks):
    events = []
    for block in b"".join(chunks).decode("ascii").split("\n\n")[:-1]:
        kind, data = block.splitlines()
        parsed = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {parsed['type']}"
        events.append(parsed)
    return events


def end(shown, wanted=None):
    chunks = answers.end_events(SPOKEN, shown=shown, asked=wanted or asked(), job_id="7", cost_micros=1)
    return read(chunks)


@pytest.mark.parametrize(
    ("shown", "delta"),
    [("", "Hello there,Ann."), ("Hello", " there,Ann."), ("Hello there, ", "Ann."), ("Hello there,Ann.", "")],
)
def test_deltas_add_up_to_the_text_of_the_end(shown, delta):
    events = end(shown)
    deltas = "".join(event["delta"] for event in events if event["type"] == answers.DELTA)
    assert deltas == delta
    assert events[-1]["text"] == shown + delta
    assert events[-1]["usage"] == {"type": "duration", "seconds": 2.5}
    assert [segment["id"] for segment in events[-1]["segments"]] == [0, 1]
    assert events[-1]["type"] == answers.DONE


def test_text_that_was_shown_otherwise_ends_with_the_transcript():
    (done,) = end("Something else")
    assert done["text"] == "Hello there,Ann."


def test_diarized_stream_has_an_event_for_each_segment():
    events = end("Hello there,Ann.", asked("diarized_json"))
    assert [event["type"] for event in events] == [answers.SEGMENT, answers.SEGMENT, answers.DONE]
    assert (events[1]["id"], events[1]["speaker"]) == ("seg_1", "B")
    assert events[2]["segments"][1]["speaker"] == "B"


def test_error_is_an_event():
    assert answers.error_event({"error": {"message": "No"}}) == b'event: error\ndata: {"error": {"message": "No"}}\n\n'


def test_event_is_one_line_of_data_whatever_the_text_is():
    (event,) = read([answers.event(answers.DELTA, {"delta": "a\nb\u2028c\r"})])
    assert event["delta"] == "a\nb\u2028c\r"
