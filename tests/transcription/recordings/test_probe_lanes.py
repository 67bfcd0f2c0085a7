"""Who gets a place, and in which order."""

import itertools
import threading

import pytest

from transcription.recordings import probe_lanes
from transcription.recordings.probe_lanes import MAX_OVERTAKEN, Lane, LaneFull


def lane(*, places=1, max_waiting=100, max_waiting_each=20):
    return Lane(
        cpu_seconds=1,
        places=places,
        max_waiting=max_waiting,
        max_waiting_each=max_waiting_each,
        retry_seconds=1,
    )


def order_of(chosen, tickets):
    """End whichever probe has the place until none waits, and return the names in the order of their places."""
    order = []
    while left := {name: ticket for name, ticket in tickets.items() if name not in order}:
        holders = [name for name, ticket in left.items() if ticket.has_place]
        assert holders, "the place is never idle while somebody waits"
        order += holders
        for name in holders:
            chosen.leave(tickets[name])
    return order


def test_organizations_take_turns():
    """Attack: one organization sends many files at once. Another one's file waits for one of them, not for all."""
    chosen = lane()
    tickets = {f"a{number}": chosen.ask("a", size=1) for number in range(6)}
    tickets |= {f"b{number}": chosen.ask("b", size=1) for number in range(2)}
    tickets["c0"] = chosen.ask("c", size=1)
    assert order_of(chosen, tickets) == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4", "a5"]


def test_organization_that_comes_back_gets_behind_those_that_wait():
    chosen = lane()
    first = chosen.ask("a", size=1)
    other = chosen.ask("b", size=1)
    chosen.leave(first)
    again = chosen.ask("a", size=1)
    third = chosen.ask("c", size=1)
    chosen.leave(other)
    assert again.has_place
    assert not third.has_place
    chosen.leave(again)
    assert third.has_place


@pytest.mark.parametrize("places", [2, 3, 8])
def test_one_organization_never_has_all_places(places):
    chosen = lane(places=places)
    tickets = [chosen.ask("a", size=1) for _ in range(places + 3)]
    assert sum(ticket.has_place for ticket in tickets) == places - 1
    assert chosen.ask("b", size=10**9).has_place
    chosen.leave(tickets[0])
    assert sum(ticket.has_place for ticket in tickets[1:]) == places - 1


def test_smallest_file_of_an_organization_goes_first():
    chosen = lane()
    tickets = {"first": chosen.ask("a", size=50)}
    tickets |= {str(size): chosen.ask("a", size=size) for size in (900, 20, 300)}
    assert order_of(chosen, tickets) == ["first", "20", "300", "900"]


def test_large_file_is_not_overtaken_for_ever():
    chosen = lane()
    running, large = chosen.ask("a", size=1), chosen.ask("a", size=10**9)
    overtook = 0
    while not large.has_place:
        small = chosen.ask("a", size=1)
        chosen.leave(running)
        running = small
        overtook += small.has_place
        assert overtook <= MAX_OVERTAKEN
    assert overtook == MAX_OVERTAKEN


def test_organization_with_too_many_is_refused_alone():
    chosen = lane(max_waiting_each=3)
    tickets = [chosen.ask("a", size=1) for _ in range(4)]
    for refused in (chosen.require_room, lambda owner: chosen.ask(owner, size=1)):
        with pytest.raises(LaneFull) as caught:
            refused("a")
        assert caught.value.is_own
    chosen.require_room("b")
    other = chosen.ask("b", size=1)
    chosen.leave(tickets[0])
    chosen.require_room("a")
    chosen.leave(tickets[1])
    assert other.has_place


def test_full_lane_refuses_everybody():
    chosen = lane(max_waiting=3, max_waiting_each=2)
    for owner in ("a", "a", "b", "c"):
        chosen.ask(owner, size=1)
    with pytest.raises(LaneFull) as caught:
        chosen.ask("d", size=1)
    assert not caught.value.is_own


def test_who_stops_waiting_takes_no_place():
    chosen = lane()
    first, gone, last = (chosen.ask("a", size=1) for _ in range(3))
    chosen.leave(gone)
    chosen.leave(first)
    assert last.has_place
    assert not gone.has_place


def test_place_is_free_after_an_error():
    chosen = lane()
    with pytest.raises(RuntimeError), chosen.place("a", size=1):
        raise RuntimeError
    assert chosen.ask("b", size=1).has_place


def test_threads_wait_for_their_places():
    """As many hold places at the same moment as there are, and never more."""
    chosen = lane(places=3, max_waiting_each=100)
    held = threading.Semaphore(3)
    all_places = threading.Barrier(3)
    too_many, done = [], []

    def probe(owner):
        for _ in range(20):
            with chosen.place(owner, size=1):
                if not held.acquire(blocking=False):
                    too_many.append(owner)
                held.release()
        with chosen.place(owner, size=1):
            all_places.wait(timeout=30)
        done.append(owner)

    threads = [threading.Thread(target=probe, args=(owner,)) for owner in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(done) == ["a", "b", "c"]
    assert too_many == []


def test_each_lane_has_more_time_and_less_priority():
    seconds = [one.cpu_seconds for one in probe_lanes.LANES]
    assert all(later >= 10 * sooner for sooner, later in itertools.pairwise(seconds))
    assert [one.niceness for one in probe_lanes.LANES] == sorted({one.niceness for one in probe_lanes.LANES})


def test_nobody_is_told_to_wait_longer_than_clients_do():
    """OpenAI's package for Node ignores a Retry-After of more than 60 s, and the AI SDK does too."""
    assert max(lane.retry_seconds for lane in probe_lanes.LANES) <= 60
