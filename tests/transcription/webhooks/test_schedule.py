"""The pauses between the attempts of a webhook."""

from datetime import timedelta

import pytest

from transcription.webhooks import schedule


def test_pauses_are_those_of_the_contract():
    pauses = [schedule.pause_after(step, chance=0.5) for step in range(1, 11)]
    seconds, minutes, hours = (
        lambda n: timedelta(seconds=n),
        lambda n: timedelta(minutes=n),
        lambda n: timedelta(hours=n),
    )
    expected = [seconds(5), minutes(5), minutes(30), *(hours(n) for n in (2, 5, 10, 14, 20, 24)), None]
    assert pauses == expected


@pytest.mark.parametrize("step", range(1, 10))
def test_jitter_moves_a_pause_by_a_tenth_at_most(step):
    exact = schedule.pause_after(step, chance=0.5)
    assert schedule.pause_after(step, chance=0) == exact * 0.9
    assert schedule.pause_after(step, chance=1) == exact * 1.1


def test_all_attempts_fit_into_four_days():
    assert sum((schedule.pause_after(step, chance=1) for step in range(1, 10)), timedelta()) < timedelta(days=4)
