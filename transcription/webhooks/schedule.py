"""When a webhook that was not accepted is sent again. Pure."""

from datetime import timedelta

# The pauses after each attempt: ten attempts in a little over three days.
PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
# A receiver that comes back after an outage is not asked for everything in the same second.
JITTER = 0.1


def pause_after(step: int, *, chance: float) -> timedelta | None:
    """Return how long to wait after an attempt, None after the last one.

    step: how many attempts of the schedule were made, from 1. chance: a random number from 0 to 1.
    """
    if step > len(PAUSES):
        return None
    return PAUSES[step - 1] * (1 + JITTER * (2 * chance - 1))
