"""A body that drips is told from one that is slow, whatever the sizes of its pieces."""

import pytest

from accounts.gate.body_rate import MIN_BYTES, WINDOW_SECONDS, BodyRate


def seconds_until_refused(pieces):
    """Return after which second of waiting the body was too slow, None if it never was."""
    rate, waited = BodyRate(), 0.0
    for size_bytes, seconds in pieces:
        waited += seconds
        if rate.is_too_slow(size_bytes=size_bytes, waited_seconds=seconds):
            return waited
    return None


def test_byte_each_59_seconds_is_refused_in_the_second_minute():
    assert seconds_until_refused([(1, 59.0)] * 100) == 118.0


@pytest.mark.parametrize("seconds", [0.01, 1.0, 20.0])
def test_slow_line_is_no_drip(seconds):
    size_bytes = int(seconds * 2 * MIN_BYTES / WINDOW_SECONDS) + 1
    assert seconds_until_refused([(size_bytes, seconds)] * int(10 * WINDOW_SECONDS / seconds)) is None


@pytest.mark.parametrize("seconds", [0.01, 1.0, 20.0])
def test_half_the_rate_is_refused_whatever_the_pieces(seconds):
    size_bytes = int(seconds * MIN_BYTES / WINDOW_SECONDS / 2)
    assert seconds_until_refused([(size_bytes, seconds)] * int(10 * WINDOW_SECONDS / seconds)) is not None


def test_large_beginning_buys_no_time():
    """Attack: most of the file at once, and then a byte now and then."""
    refused_after = seconds_until_refused([(10**9, 0.0), *[(1, 30.0)] * 100])
    assert refused_after is not None
    assert refused_after <= 2 * WINDOW_SECONDS


def test_pause_between_bursts_is_no_drip():
    assert seconds_until_refused([(MIN_BYTES, 50.0)] * 20) is None
