"""What one event of an upstream says."""

import json

import pytest

from apex import chunks


def read(content):
    return chunks.read(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"  \n", None, {}, [], 0, "", {"type": "ping"}, {"choices": []}, {"choices": None}, {"usage": None}],
)
def test_empty_events_say_nothing(content):
    assert read(content) is None


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[" * 100_000,
        5,
        "text",
        [{"error": {"code": 500}}],
        {"error": "exploded"},
        {"error": {"code": 500}, "choices": [{"index": 0}]},
        {"object": "error", "message": "exploded"},
        {"type": "error"},
        {"choices": {"0": {}}},
        {"choices": "many"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
    ],
)
def test_errors_and_nonsense_are_refused(content):
    with pytest.raises(chunks.BrokenChunk):
        read(content)


def test_chunk_that_every_client_can_read_is_not_changed():
    raw = b' {"choices": [ {"index": 0, "delta": {"content": "\\u00e9"}} ], "error": null}\n'
    chunk = read(raw)
    assert chunk == chunks.Chunk(raw.strip(), json.loads(raw))


@pytest.mark.parametrize("without", [{}, {"choices": None}])
def test_usage_without_choices_gets_an_empty_list(without):
    chunk = read({"usage": {"prompt_tokens": 1}, **without})
    assert chunk is not None
    assert json.loads(chunk.raw) == chunk.content == {"usage": {"prompt_tokens": 1}, "choices": []}


def test_choices_get_the_index_that_they_lack():
    chunk = read({"choices": [None, {"delta": {}}, {"index": None}, {"index": 7}]})
    assert chunk is not None
    assert [choice["index"] for choice in chunk.content["choices"]] == [1, 2, 7]
    assert json.loads(chunk.raw) == chunk.content
