"""VoxNexus's words: what is read, what is refused, and the published example."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from accounts.error_types import ErrorType
from accounts.errors import InvalidField, MissingField, PaymentRequired, UnsupportedMediaType, VoxsiteError
from transcription.dialects.voxnexus import wire
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript, Word

OFFERS = {
    "vn-stt-basic": ModelCapabilities(
        engine="x",
        languages=frozenset({"en", "zh", "yue", "de", "es", "fr", "it", "pt", "nl", "pl", "sv"}),
        translates=True,
    ),
    "small": ModelCapabilities(engine="y", languages=frozenset({"en"}), translates=False),
}
REQUIRED = {"model_id": "vn-stt-basic", "sample_rate": "16000"}


def read(**query):
    return wire.read_query(REQUIRED | query, offers=OFFERS)


def segment(text, start_ms, end_ms, speaker=None, probability=0.98):
    words, at = [], start_ms
    for one in text.split():
        words.append(Word(one, at, at + 500, probability, speaker))
        at += 500
    return Segment(start_ms, end_ms, text, tuple(words), speaker)


def transcript(*segments, language="en", duration_ms=2500, notes=()):
    return Transcript(
        language=language,
        language_probability=0.9,
        duration_ms=duration_ms,
        segments=segments,
        engine="x",
        notes=notes,
    )


SPOKEN = transcript(segment("Hello this is a test message", 0, 2500, "S1"))


def show(result=SPOKEN, *, query=None, **fields):
    return wire.show_result(
        result,
        request=read(**(query or {})),
        request_id="req_1234567890",
        created_at=datetime(2024, 1, 1, 12, tzinfo=UTC),
        **fields,
    )


def test_published_example():
    shown = show(
        query={"enable_timestamps": "true", "enable_speaker_diarization": "true"},
        rewritten="Hello, this is a test message.",
    )
    assert shown == {
        "request_id": "req_1234567890",
        "transcript": "Hello this is a test message",
        "text": "Hello, this is a test message.",
        "duration_ms": 2500,
        "created_at": "2024-01-01T12:00:00Z",
        "language": "en-US",
        "words": [
            {"word": word, "offset": 500 * at, "duration": 500, "confidence": 0.98}
            for at, word in enumerate(["Hello", "this", "is", "a", "test", "message"])
        ],
        "speakers": [
            {"speaker_id": "speaker_1", "text": "Hello this is a test message", "offset": 0, "duration": 2500}
        ],
    }


def test_text_is_the_transcript_and_extras_are_absent_unless_asked_for():
    shown = show()
    assert shown["text"] == shown["transcript"] == "Hello this is a test message"
    assert not {"words", "speakers", "warnings"} & set(shown)


def test_published_query_is_read():
    request = read(
        language="en-US",
        enable_llm_transform="true",
        llm_prompt="Correct punctuation and remove filler words",
        llm_model_id="claude-haiku-4-5-20251001",
        llm_max_tokens="1024",
    )
    assert request.model == "vn-stt-basic"
    assert (request.sample_rate, request.locale) == (16_000, "en-US")
    assert request.options == TranscriptionOptions(language="en", diarize=False, word_timestamps=False)
    assert request.transform == wire.Transform(
        "Correct punctuation and remove filler words", model="claude-haiku-4-5-20251001", max_tokens=1024
    )


def test_flags_choose_options():
    request = read(enable_timestamps="1", enable_speaker_diarization="TRUE")
    assert request.options == TranscriptionOptions(diarize=True, word_timestamps=True)
    assert request.with_words
    assert request.with_speakers


@pytest.mark.parametrize("tag", ["", "auto", " ", "und"])
def test_without_a_language_it_is_detected(tag):
    request = read(language=tag)
    assert (request.options.language, request.locale) == (None, "")


@pytest.mark.parametrize(
    ("tag", "spoken", "shown"),
    [
        ("en", "en", "en-US"),
        ("en-GB", "en", "en-GB"),
        ("en_gb", "en", "en-GB"),
        ("zh-TW", "zh", "zh-TW"),
        ("zh-HK", "yue", "zh-HK"),
        ("eng", "en", "en-US"),
        ("", "pt", "pt-BR"),
        ("en-GB", "de", "de-DE"),
    ],
)
def test_language_is_answered_as_a_locale(tag, spoken, shown):
    assert show(transcript(segment("x", 0, 1), language=spoken), query={"language": tag})["language"] == shown


def test_silence_has_no_language_and_no_text():
    shown = show(transcript(language=None), query={"enable_timestamps": "1", "enable_speaker_diarization": "1"})
    assert "language" not in shown
    assert (shown["text"], shown["transcript"], shown["words"], shown["speakers"]) == ("", "", [], [])


def test_speakers_are_turns():
    spoken = transcript(
        segment("good morning", 0, 1000, "S1"),
        segment("how are you", 1200, 2000, "S1"),
        segment("fine", 2100, 2400, "S2"),
        segment("great", 2500, 2900, "S1"),
    )
    assert show(spoken, query={"enable_speaker_diarization": "true"})["speakers"] == [
        {"speaker_id": "speaker_1", "text": "good morning how are you", "offset": 0, "duration": 2000},
        {"speaker_id": "speaker_2", "text": "fine", "offset": 2100, "duration": 300},
        {"speaker_id": "speaker_1", "text": "great", "offset": 2500, "duration": 400},
    ]


def test_recording_without_speaker_labels_has_one_speaker():
    shown = show(transcript(segment("good", 0, 10)), query={"enable_speaker_diarization": "true"})
    assert [one["speaker_id"] for one in shown["speakers"]] == ["speaker_1"]


def test_warnings_are_the_notes_and_what_came_of_the_rewriting():
    shown = show(transcript(segment("x", 0, 1), notes=("No speaker labels.",)), note="Not rewritten.")
    assert shown["warnings"] == ["No speaker labels.", "Not rewritten."]


def test_time_is_utc():
    berlin = datetime(2024, 1, 1, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    shown = wire.show_result(SPOKEN, request=read(), request_id="r", created_at=berlin)
    assert shown["created_at"] == "2024-01-01T12:00:00Z"


@pytest.mark.parametrize("name", ["model_id", "sample_rate"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_required_parameters(name, value):
    query = {key: text for key, text in REQUIRED.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(MissingField) as caught:
        wire.read_query(query, offers=OFFERS)
    assert caught.value.data["param"] == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_id", "nova-2"),
        ("sample_rate", "0"),
        ("sample_rate", "-1"),
        ("sample_rate", "16k"),
        ("sample_rate", "16000.5"),
        ("sample_rate", "\u0661\u0662"),
        ("sample_rate", "9" * 5000),
        ("sample_rate", "768001"),
        ("language", "xx"),
        ("language", "english"),
        ("language", "a" * 5000),
        ("language", "e\x00n"),
        ("enable_timestamps", "yes"),
        ("enable_speaker_diarization", "2"),
        ("enable_llm_transform", "maybe"),
        ("llm_max_tokens", "0"),
        ("llm_max_tokens", "4097"),
        ("llm_prompt", "a\x00b"),
    ],
)
def test_bad_value_is_refused_by_name(name, value):
    with pytest.raises(InvalidField) as caught:
        read(**{name: value})
    assert caught.value.data["param"] == name
    assert len(caught.value.message) < 400


def test_model_that_knows_few_languages_lists_them_as_locales():
    with pytest.raises(InvalidField, match=r"Languages: en-US\."):
        read(model_id="small", language="de")


def test_transform_needs_a_prompt():
    with pytest.raises(MissingField) as caught:
        read(enable_llm_transform="true")
    assert caught.value.data["param"] == "llm_prompt"
    with pytest.raises(InvalidField):
        read(enable_llm_transform="true", llm_prompt="x" * 4001)


def test_prompt_without_the_flag_does_nothing():
    assert read(llm_prompt="translate", llm_model_id="x", llm_max_tokens="5").transform is None


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "audio/wav",
        "Audio/L16; rate=16000",
        "video/mp4",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ],
)
def test_content_types_of_recordings(content_type):
    wire.require_audio(content_type)


@pytest.mark.parametrize(
    "content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", "nonsense"]
)
def test_other_content_types_are_refused(content_type):
    with pytest.raises(UnsupportedMediaType):
        wire.require_audio(content_type)


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_every_error_is_shown_by_its_type(error_type):
    shown = wire.show_error(VoxsiteError("What happened.", error_type=error_type), request_id="req_1")
    assert shown == {"error": {"code": error_type.value, "message": "What happened."}, "request_id": "req_1"}


def test_data_of_an_error_stands_beside_its_code():
    shown = wire.show_error(PaymentRequired("Too little.", required_cents=30), request_id="req_1")
    assert shown["error"] == {"code": "insufficient_balance", "message": "Too little.", "required_cents": 30}
