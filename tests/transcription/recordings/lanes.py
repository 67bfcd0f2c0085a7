"""Uploads that wait, without a probe that runs."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from transcription.recordings import probe_lanes


@contextmanager
def filled(*owners: Hashable) -> Iterator[None]:
    """Take all places of the first lane, and let as many wait as may, for each owner in turn."""
    lane = probe_lanes.LANES[0]
    tickets = []
    for owner in owners:
        try:
            while True:
                tickets.append(lane.ask(owner, size=1))
        except probe_lanes.LaneFull:
            continue
    try:
        yield
    finally:
        for ticket in reversed(tickets):
            lane.leave(ticket)
