"""Who may be called now: limits in all, of an organization, of a receiver, of one that does not answer."""

import uuid

from transcription.webhooks.lanes import Lanes, Receiver

ALICES, BOBS = uuid.UUID(int=1), uuid.UUID(int=2)
A1, A2, A3 = (Receiver(ALICES, f"{number}.example:443") for number in (1, 2, 3))
B1 = Receiver(BOBS, "1.example:443")


def lanes(**limits):
    return Lanes(**{"max_open": 100, "max_per_organization": 4, "max_per_receiver": 2} | limits)


def test_receiver_has_a_limit():
    counted = lanes()
    assert [counted.enter(A1) for _ in range(3)] == [True, True, False]
    assert counted.full_receivers() == [A1]
    assert counted.enter(A2)
    counted.leave(A1, answered=True)
    assert counted.full_receivers() == []
    assert counted.enter(A1)


def test_same_host_of_another_organization_is_another_receiver():
    counted = lanes(max_per_receiver=1)
    assert counted.enter(A1)
    assert counted.enter(B1)


def test_organization_has_a_limit_over_all_its_receivers():
    counted = lanes()
    assert [counted.enter(one) for one in (A1, A1, A2, A2, A3)] == [True, True, True, True, False]
    assert counted.full_organizations() == [ALICES]
    assert counted.enter(B1)


def test_all_together_have_a_limit():
    counted = lanes(max_open=1)
    assert counted.enter(A1)
    assert not counted.has_room()
    assert not counted.enter(B1)
    counted.leave(A1, answered=True)
    assert counted.has_room()


def test_receiver_that_did_not_answer_gets_one_request_at_a_time_until_it_answers():
    counted = lanes()
    counted.enter(A1)
    counted.leave(A1, answered=False)
    assert counted.full_receivers() == []
    assert [counted.enter(A1), counted.enter(A1)] == [True, False]
    counted.leave(A1, answered=True)
    assert [counted.enter(A1), counted.enter(A1)] == [True, True]


def test_request_that_was_not_sent_says_nothing_about_its_receiver():
    counted = lanes()
    counted.enter(A1)
    counted.leave(A1)
    assert [counted.enter(A1), counted.enter(A1)] == [True, True]
