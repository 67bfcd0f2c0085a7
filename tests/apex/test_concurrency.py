import threading

from apex import concurrency
from apex.concurrency import Seat


def test_no_more_than_there_are_and_each_organization_has_its_own():
    taken = [Seat() for _ in range(3)]
    assert [seat.take("ours", most=2) for seat in taken] == [True, True, False]
    assert Seat().take("theirs", most=2)
    taken[0].leave()
    assert taken[2].take("ours", most=2)
    assert concurrency.taken("ours") == 2


def test_seat_is_taken_once_and_left_once_however_often_it_is_said():
    one, other = Seat(), Seat()
    assert all(one.take("twice", most=1) for _ in range(3))
    assert concurrency.taken("twice") == 1
    one.leave()
    assert other.take("twice", most=1)
    one.leave()
    assert concurrency.taken("twice") == 1
    other.leave()
    assert concurrency.taken("twice") == 0


def test_whoever_has_left_takes_none():
    """The beginning runs in a thread, and may end after the one who wanted it."""
    seat = Seat()
    seat.leave()
    assert not seat.take("late", most=1)
    assert concurrency.taken("late") == 0


def test_threads_take_no_more_than_there_are():
    barrier = threading.Barrier(8)
    found = []

    def act():
        mine = [Seat() for _ in range(500)]
        barrier.wait()
        found.append(sum(seat.take("many", most=1000) for seat in mine))

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1000
