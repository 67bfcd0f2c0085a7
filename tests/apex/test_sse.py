import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex import sse
from apex.sse import BrokenStream, Comment, Data, EventReader


def read(*received: bytes, **options):
    reader = EventReader(**options)
    return [event for part in received for event in reader.feed(part)]


def test_event_is_yielded_as_soon_as_it_is_complete():
    reader = EventReader()
    assert list(reader.feed(b'data: {"a": 1}\n')) == []
    assert list(reader.feed(b"\n")) == [Data(b'{"a": 1}')]


def test_carriage_returns_comments_and_other_fields():
    raw = b": keep-alive\r\n\r\nevent: x\r\nid: 7\r\ndata:one\r\ndata: two\r\n\r\nretry: 5\n\n"
    assert read(raw) == [Comment(b": keep-alive"), Data(b"one\ntwo")]


@given(st.data())
def test_events_do_not_depend_on_how_the_bytes_are_split(data):
    raw = b": hi\r\ndata: one\r\n\r\ndata: tw\xc3\xb6\ndata: lines\n\n: x\n\ndata: [DONE]\n\n"
    splits = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[start:end] for start, end in zip([0, *splits], [*splits, len(raw)], strict=True)]
    assert read(*pieces) == read(raw)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 200 + b"\n\n"],
        [b"data: " + b"x" * 60] * 3,
        [b"data: " + b"x" * 50 + b"\n"] * 3,
        [b":" + b"x" * 200],
    ],
)
def test_event_that_is_too_large_is_refused(pieces):
    with pytest.raises(BrokenStream):
        read(*pieces, max_event_bytes=120)


def test_large_event_is_not_copied_for_each_received_piece():
    reader, raw = EventReader(), b"data: " + b"x" * 400_000 + b"\n\n"
    copied = 0
    tracemalloc.start()
    try:
        for start in range(0, len(raw), 200):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            events = list(reader.feed(raw[start : start + 200]))
            copied += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert events == [Data(b"x" * 400_000)]
    # A few copies of the event, and a little for each of the 2,000 pieces. A copy for each piece would be 1,000 events.
    assert copied < 30 * len(raw)


def test_many_small_events_are_not_too_large():
    assert len(read(*[b"data: " + b"x" * 50 + b"\n\n"] * 10, max_event_bytes=120)) == 10


def test_event_is_formatted_on_one_line():
    assert read(sse.format_event(b'{"a":\n1}')) == [Data(b'{"a": 1}')]


@pytest.mark.parametrize("line", [b": a\rdata: {}\n", b": a\r\rdata: {}\r\n"])
def test_carriage_return_inside_a_comment_begins_no_field(line):
    (comment,) = read(line)
    assert b"\r" not in comment.line


def test_carriage_return_inside_an_event_does_not_end_its_line():
    assert sse.format_event(b'{"a":\r1}') == b'data: {"a": 1}\n\n'
