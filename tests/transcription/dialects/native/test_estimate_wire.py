"""The fields of an estimate, read and refused by name."""

import pytest

from accounts.errors import InvalidField, MissingField, UnknownField
from transcription.dialects.native import estimate_wire, wire

TEN_HOURS_MS = 36_000_000


def read(body):
    return estimate_wire.read_lengths(body, max_duration_ms=TEN_HOURS_MS, max_files=3)


def test_transcription_takes_every_field_of_the_call_except_the_file():
    assert set(wire.FIELDS) - set(estimate_wire.FIELDS["transcription"]) == {"file"}


def test_kind_is_transcription_unless_said():
    assert estimate_wire.read_kind({"duration_seconds": 1}) == "transcription"
    assert estimate_wire.read_kind({"kind": "chat", "request": {}}) == "chat"


@pytest.mark.parametrize("kind", ["", "CHAT", None, 1, [], {}])
def test_unknown_kind_is_refused(kind):
    with pytest.raises(InvalidField) as caught:
        estimate_wire.read_kind({"kind": kind})
    assert caught.value.data["param"] == "kind"


@pytest.mark.parametrize(("kind", "field"), [("chat", "duration_seconds"), ("transcription", "file"), ("answer", "x")])
def test_field_of_another_kind_is_refused(kind, field):
    with pytest.raises(UnknownField):
        estimate_wire.read_kind({"kind": kind, field: 1})


@pytest.mark.parametrize(
    ("seconds", "ms"), [(1, 1000), (0.0004, 1), (1.0001, 1001), (0.1 + 0.2, 301), (0.3, 300), (36_000, TEN_HOURS_MS)]
)
def test_seconds_become_milliseconds_rounded_up(seconds, ms):
    assert read({"duration_seconds": seconds}) == [("", ms, 1)]


@pytest.mark.parametrize("seconds", [0, -1, True, "60", 36_000.001, float("inf"), 10**400, [], {}])
def test_impossible_length_is_refused(seconds):
    with pytest.raises(InvalidField) as caught:
        read({"duration_seconds": seconds})
    assert caught.value.data["param"] == "duration_seconds"


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2", 256])
def test_impossible_number_of_channels_is_refused(count):
    with pytest.raises(InvalidField):
        read({"duration_seconds": 1, "channel_count": count})


def test_url_needs_a_length_because_it_is_not_fetched():
    with pytest.raises(MissingField, match="duration_seconds"):
        read({"url": "https://example.com/a.mp3"})
    assert read({"url": "https://example.com/a.mp3", "duration_seconds": 2}) == [("", 2000, 1)]


def test_stored_file_takes_no_length():
    assert read({"file_id": "one"}) == [("one", 0, 1)]
    with pytest.raises(InvalidField):
        read({"file_id": "one", "duration_seconds": 2})


def test_files_of_a_batch_are_read_in_their_order():
    files = [{"file_id": "one"}, {"duration_seconds": 2, "channel_count": 2, "reference": "a", "language": "en"}]
    assert read({"files": files}) == [("one", 0, 1), ("", 2000, 2)]


@pytest.mark.parametrize(
    "files",
    [
        *(None, [], {}, "x", [1], [{}], [{"duration_seconds": 0}], [{"name": "x"}], [{"file_id": 1}]),
        [{"file_id": "a"}] * 4,
        [{"file_id": "a", "language": 1}],
        [{"file_id": "a", "reference": {}}],
    ],
)
def test_broken_files_are_refused(files):
    with pytest.raises((InvalidField, MissingField, UnknownField)) as caught:
        read({"files": files})
    assert caught.value.data["param"].startswith("files")


def test_files_and_a_length_are_not_sent_together():
    with pytest.raises(InvalidField):
        read({"files": [{"file_id": "a"}], "duration_seconds": 1})


@pytest.mark.parametrize("request_body", [None, "x", [], {}, {"messages": []}])
def test_chat_request_must_be_an_object_with_a_model(request_body):
    with pytest.raises((InvalidField, MissingField)):
        estimate_wire.read_chat({"request": request_body})


@pytest.mark.parametrize("fields", [{}, {"instruction": " "}, {"instruction": 1}, {"instruction": "x" * 4001}])
def test_rewriting_needs_an_instruction(fields):
    with pytest.raises((InvalidField, MissingField)):
        estimate_wire.read_instruction(fields)


def test_rewriting_has_defaults():
    assert estimate_wire.read_instruction({"instruction": "Shorten."}) == ("Shorten.", None, None)
    with pytest.raises(InvalidField):
        estimate_wire.read_instruction({"instruction": "Shorten.", "max_tokens": 0})
