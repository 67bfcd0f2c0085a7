from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys
from accounts.errors import Unauthorized
from accounts.gate import caller_cache


@pytest.fixture(autouse=True)
def empty_cache():
    caller_cache.forget_all()
    yield
    caller_cache.forget_all()


def test_caller_is_read_once_in_a_while(organization, django_assert_num_queries):
    row, key = api_keys.issue(organization, name="key", by=None)
    assert caller_cache.authenticate(key).api_key == row
    with django_assert_num_queries(0):
        assert caller_cache.authenticate(key).organization == organization
    with django_assert_num_queries(1):
        caller_cache.authenticate(key, max_age_seconds=0.0)


def test_revoked_key_is_unknown_once_the_time_is_over(organization):
    row, key = api_keys.issue(organization, name="key", by=None)
    caller_cache.authenticate(key)
    api_keys.revoke(organization, key_id=row.pk)
    with pytest.raises(Unauthorized):
        caller_cache.authenticate(key, max_age_seconds=0.0)


def test_time_in_which_a_revocation_is_not_seen_is_less_than_a_second():
    assert caller_cache.MAX_AGE_SECONDS < 1


def test_key_expires_at_its_time(organization):
    _, key = api_keys.issue(organization, name="key", by=None, expires_at=timezone.now() + timedelta(hours=1))
    caller_cache.authenticate(key)
    with time_machine.travel(timezone.now() + timedelta(hours=2), tick=False), pytest.raises(Unauthorized):
        caller_cache.authenticate(key)


def test_refusal_is_not_remembered(organization):
    key = api_keys.generate()
    with pytest.raises(Unauthorized):
        caller_cache.authenticate(key)
    row, _ = api_keys.issue(organization, name="key", by=None)
    row.sha256 = api_keys.digest(key)
    row.save(update_fields=["sha256"])
    assert caller_cache.authenticate(key).api_key == row


def test_memory_is_bounded(organization):
    for _ in range(5):
        caller_cache.authenticate(api_keys.issue(organization, name="key", by=None)[1], max_callers=2)
    assert len(caller_cache._known) <= 2
