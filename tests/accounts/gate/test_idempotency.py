from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from accounts.errors import Conflict, InvalidField, PaymentRequired
from accounts.gate import idempotency
from accounts.models import IdempotencyRecord


def act_once(keep):
    keep(201, {"id": 1})
    return 201, {"id": 1}


def once(organization, *, key="k", mark="m", act=act_once):
    return idempotency.once(organization, key=key, request_fingerprint=mark, act=act)


def test_answer_is_kept(organization):
    assert once(organization) == (201, {"id": 1}, False)
    assert once(organization, act=lambda _: pytest.fail("done twice")) == (201, {"id": 1}, True)


def test_other_request_with_the_same_key_is_refused(organization):
    once(organization)
    with pytest.raises(Conflict) as caught:
        once(organization, mark="other")
    assert caught.value.type == "idempotency_key_reused"


def test_request_while_the_first_runs_is_refused(organization):
    def act(keep):
        with pytest.raises(Conflict) as caught:
            once(organization)
        assert caught.value.type == "idempotency_key_in_use"
        return act_once(keep)

    once(organization, act=act)


def abandon(minutes):
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=minutes))


def killed(_):
    raise KeyboardInterrupt


def test_key_of_a_killed_request_is_free_again_after_a_while(organization, monkeypatch):
    with monkeypatch.context() as patch:
        # A process that is killed deletes nothing.
        patch.setattr(QuerySet, "delete", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            once(organization, act=killed)
    abandon(minutes=4)
    with pytest.raises(Conflict):
        once(organization)
    abandon(minutes=6)
    assert once(organization) == (201, {"id": 1}, False)
    assert once(organization)[2] is True


def test_request_that_was_taken_over_keeps_nothing(organization):
    def slow(keep):
        abandon(minutes=6)
        assert once(organization) == (201, {"id": 1}, False)
        keep(201, {"id": 2})

    with pytest.raises(Conflict):
        once(organization, act=slow)
    assert once(organization) == (201, {"id": 1}, True)


def test_kept_answer_survives_a_crash_behind_it(organization):
    def crash(keep):
        keep(201, {"id": 1})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        once(organization, act=crash)
    assert once(organization) == (201, {"id": 1}, True)


def test_organizations_do_not_share_keys(organization, charlies):
    once(organization)
    assert once(charlies, mark="other")[2] is False


def test_error_frees_the_key(organization):
    def act(_):
        raise PaymentRequired("No money.")

    with pytest.raises(PaymentRequired):
        once(organization, act=act)
    assert once(organization)[2] is False


@pytest.mark.parametrize("key", ["x" * 256, "a\nb", "a\x00"])
def test_impossible_keys_are_refused(organization, key):
    with pytest.raises(InvalidField):
        once(organization, key=key)


def test_old_answers_are_forgotten(organization):
    once(organization)
    assert idempotency.purge() == 0
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert idempotency.purge() == 1


def test_fingerprint_tells_fields_and_files_apart():
    def mark(query="a=1&b=2", content=b"sound", path="/v1/transcribe"):
        data = MultiValueDict({**QueryDict(query), "file": [SimpleUploadedFile("name.wav", content)]})
        return idempotency.fingerprint(path, data=data)

    assert mark() == mark()
    assert mark(query="b=2&a=1") == mark()
    assert (
        len({mark(), mark(query="a=1&b=3"), mark(content=b"other"), mark(path="/v1/other"), mark(query="a=1b=2")}) == 5
    )
