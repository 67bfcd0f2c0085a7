"""Deepgram's answers: each part as its reference shows it, and every error."""

import uuid
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from accounts.error_types import ErrorType
from accounts.errors import BadRequest, MissingField, VoxsiteError
from transcription.dialects.deepgram import query, wire
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.transcript import Segment, Transcript, Word

OFFER = ModelCapabilities("faster-whisper/base", frozenset({"en", "de"}), translates=True)
JOB = uuid.UUID("00000000-0000-4000-8000-000000000001")
TALK = (("S1", "Good morning, Ann."), ("S1", "How are you?"), ("S2", "Fine — it's 3.14!"))


def made(*lines, language="en", step_ms=500, pause_ms=1_000, notes=()):
    segments, at = [], 0
    for speaker, text in lines:
        words = tuple(
            Word(word, at + number * step_ms, at + number * step_ms + 400, 0.5, speaker)
            for number, word in enumerate(text.split())
        )
        segments.append(Segment(words[0].start_ms, words[-1].end_ms, text, words, speaker))
        at = words[-1].end_ms + pause_ms
    return Transcript(
        language=language if segments else None,
        language_probability=0.875,
        duration_ms=12_345,
        segments=tuple(segments),
        engine="faster-whisper/base",
        notes=notes,
    )


def show(transcript, text="", *, channel_count=1):
    return wire.show_answer(
        transcript,
        asked=query.read(parse_qs(text), offer=OFFER),
        request_id="req_1",
        job_id=JOB,
        sha256="ab" * 32,
        created_at=datetime(2026, 11, 29, 3, 4, 5, 678_900, tzinfo=UTC),
        channel_count=channel_count,
    )


def alternative(answer, channel=0):
    [found] = answer["results"]["channels"][channel]["alternatives"]
    return found


def test_metadata():
    metadata = show(made(*TALK), "model=nova-3&tag=a&extra=k:v")["metadata"]
    [model_id] = metadata["models"]
    assert metadata == {
        "transaction_key": "deprecated",
        "request_id": "req_1",
        "sha256": "ab" * 32,
        "created": "2026-11-29T03:04:05.678Z",
        "duration": 12.345,
        "channels": 1,
        "models": [model_id],
        "model_info": {model_id: {"name": "nova-3", "version": "faster-whisper/base", "arch": "faster-whisper"}},
        "tags": ["a"],
        "extra": {"k": "v"},
    }
    assert str(uuid.UUID(model_id)) == model_id


def test_without_formatting_words_are_bare():
    found = alternative(show(made(*TALK)))
    assert found["transcript"] == "good morning ann how are you fine it's 3.14"
    assert found["confidence"] == 0.5
    assert found["words"][2] == {"word": "ann", "start": 1.0, "end": 1.4, "confidence": 0.5}
    assert "paragraphs" not in found


def test_with_punctuation_words_have_both_forms():
    found = alternative(show(made(*TALK), "punctuate=true"))
    assert found["transcript"] == "Good morning, Ann. How are you? Fine — it's 3.14!"
    assert found["words"][1] == {
        "word": "morning",
        "punctuated_word": "morning,",
        "start": 0.5,
        "end": 0.9,
        "confidence": 0.5,
    }
    assert [word["punctuated_word"] for word in found["words"]] == found["transcript"].split()


def test_speakers_are_whole_numbers_from_zero():
    words = alternative(show(made(*TALK), "diarize=true"))["words"]
    assert [word["speaker"] for word in words] == [0] * 6 + [1] * 4
    assert "speaker" not in alternative(show(made(*TALK)))["words"][0]


def test_paragraphs_break_with_the_speaker():
    found = alternative(show(made(*TALK), "smart_format=true&diarize=true"))["paragraphs"]
    assert found["transcript"] == ("\nSpeaker 0: Good morning, Ann. How are you?\n\nSpeaker 1: Fine — it's 3.14!")
    assert found["paragraphs"][0] == {
        "sentences": [
            {"text": "Good morning, Ann.", "start": 0.0, "end": 1.4},
            {"text": "How are you?", "start": 2.4, "end": 3.8},
        ],
        "num_words": 6,
        "start": 0.0,
        "end": 3.8,
        "speaker": 0,
    }


def test_paragraphs_break_at_pauses_and_after_five_sentences():
    plain = alternative(show(made(*[("S1", "One two.")] * 7), "paragraphs=true"))["paragraphs"]["paragraphs"]
    assert [len(paragraph["sentences"]) for paragraph in plain] == [5, 2]
    assert "speaker" not in plain[0]
    slow = alternative(show(made(*[("S1", "One two.")] * 3, pause_ms=2_000), "paragraphs=true"))["paragraphs"]
    assert slow["transcript"] == "\nOne two.\n\nOne two.\n\nOne two."


def test_utterances_break_at_pauses_and_speakers():
    utterances = show(made(*TALK, pause_ms=700), "utterances=true&diarize=true")["results"]["utterances"]
    assert [(one["speaker"], one["transcript"]) for one in utterances] == [
        (0, "good morning ann how are you"),
        (1, "fine it's 3.14"),
    ]
    assert len({one["id"] for one in utterances}) == 2
    assert set(utterances[0]) == {"start", "end", "confidence", "channel", "transcript", "words", "id", "speaker"}
    split = show(made(*TALK, pause_ms=700), "utterances=true&utt_split=0.5")["results"]["utterances"]
    assert [one["transcript"] for one in split] == ["good morning ann", "how are you", "fine it's 3.14"]


def test_channels_are_one_entry_each_also_silent_ones():
    answer = show(made(*TALK), "multichannel=true&utterances=true&punctuate=true", channel_count=3)
    assert answer["metadata"]["channels"] == 3
    assert [alternative(answer, channel)["transcript"] for channel in range(3)] == [
        "Good morning, Ann. How are you?",
        "Fine — it's 3.14!",
        "",
    ]
    assert [one["channel"] for one in answer["results"]["utterances"]] == [0, 0, 1]
    assert "speaker" not in answer["results"]["utterances"][0]


def test_detected_language_is_told_if_asked_for():
    [channel] = show(made(*TALK, language="de"), "detect_language=true")["results"]["channels"]
    assert (channel["detected_language"], channel["language_confidence"]) == ("de", 0.875)
    assert "detected_language" not in show(made(*TALK))["results"]["channels"][0]
    assert alternative(show(made(*TALK), "language=multi"))["languages"] == ["en"]


def test_silence_is_an_empty_alternative():
    answer = show(made(), "utterances=true&smart_format=true&detect_language=true")
    assert answer["results"] == {
        "channels": [
            {
                "alternatives": [
                    {
                        "transcript": "",
                        "confidence": 0.0,
                        "words": [],
                        "paragraphs": {"transcript": "", "paragraphs": []},
                    }
                ]
            }
        ],
        "utterances": [],
    }


def test_what_has_no_effect_and_what_was_not_heard_are_warnings():
    warnings = show(made(*TALK, notes=("The file is cut off.",)), "numerals=true")["metadata"]["warnings"]
    assert [one["type"] for one in warnings] == ["unsupported_parameter", "note"]
    assert warnings[1]["message"] == "The file is cut off."


def test_chinese_has_no_blanks():
    words = tuple(Word(text, at * 100, at * 100 + 90, 1.0, None, at == 0) for at, text in enumerate("你好。"))
    transcript = Transcript("zh", None, 1_000, (Segment(0, 290, "你好。", words),), "faster-whisper/base")
    assert alternative(show(transcript))["transcript"] == "你好"
    assert alternative(show(transcript, "punctuate=true"))["transcript"] == "你好。"


@pytest.mark.long
@pytest.mark.parametrize("kind", ErrorType)
def test_error_of_every_type_is_in_deepgrams_words(kind):
    shown = wire.show_error(VoxsiteError("What is wrong.", error_type=kind), request_id="req_1")
    assert shown == {
        "err_code": "REMOTE_CONTENT_ERROR" if kind.startswith("url_") else "INTERNAL_SERVER_ERROR",
        "err_msg": "What is wrong.",
        "request_id": "req_1",
        "type": str(kind),
    }


def test_every_status_has_a_code():
    def kinds(kind):
        return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]

    statuses = {kind.http_status for kind in kinds(VoxsiteError)} - {500}
    assert statuses - set(wire.ERROR_CODES) == set()


def test_address_of_a_json_body():
    assert wire.read_url({"url": "https://example.com/a.mp3"}) == "https://example.com/a.mp3"
    with pytest.raises(MissingField):
        wire.read_url({"url": 7})
    with pytest.raises(BadRequest):
        wire.read_url(["url"])
