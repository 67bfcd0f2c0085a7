import uuid
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from accounts import api_keys, tokens
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


def test_request_that_was_taken_over_keeps_nothing_and_gets_the_answer_of_the_other(organization):
    def slow(keep):
        abandon(minutes=6)
        assert once(organization) == (201, {"id": 1}, False)
        keep(201, {"id": 2})

    assert once(organization, act=slow) == (201, {"id": 1}, True)
    assert once(organization) == (201, {"id": 1}, True)


def test_request_that_was_taken_over_is_refused_while_the_other_runs(organization):
    def slow(keep):
        abandon(minutes=6)

        def other(keep_other):
            with pytest.raises(idempotency.TakenOver) as caught:
                keep(201, {"id": 2})
            assert caught.value.type == "idempotency_key_in_use"
            keep_other(201, {"id": 1})
            return 201, {"id": 1}

        assert once(organization, act=other) == (201, {"id": 1}, False)
        IdempotencyRecord.objects.update(response_status=None, response_body=None)
        keep(201, {"id": 2})

    with pytest.raises(idempotency.TakenOver):
        once(organization, act=slow)


def test_waiting_for_a_request_that_runs_writes_nothing(organization, charlies, django_assert_num_queries):
    """An INSERT that fails leaves a dead row, and an error in PostgreSQL's log."""
    idempotency.claim(organization, key="k", request_fingerprint="m")
    with django_assert_num_queries(1) as asked, pytest.raises(Conflict):
        idempotency.claim(organization, key="k", request_fingerprint="m")
    assert asked[0]["sql"].startswith("SELECT")
    keys = {(organization.pk, "k"), (organization.pk, "free"), (charlies.pk, "k")}
    with django_assert_num_queries(1):
        assert idempotency.running(keys, now=timezone.now()) == {(organization.pk, "k")}


def test_request_that_has_ended_begun_something_or_was_abandoned_does_not_run(organization):
    def is_running(key):
        return bool(idempotency.running({(organization.pk, key)}, now=timezone.now()))

    once(organization, key="ended")
    begun = idempotency.claim(organization, key="begun", request_fingerprint="m")
    assert is_running("begun")
    begun.begin("job:1")
    assert not is_running("begun")
    assert not is_running("ended")
    idempotency.claim(organization, key="abandoned", request_fingerprint="m")
    abandon(minutes=6)
    assert not is_running("abandoned")


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


# --- Answers that come later ---------------------------------------------------------------------------------------


def begin(organization, reference="job:1"):
    claim = idempotency.claim(organization, key="k", request_fingerprint="f")
    claim.begin(reference)
    return claim


def again(organization, fingerprint="f"):
    return idempotency.claim(organization, key="k", request_fingerprint=fingerprint)


def test_retry_of_begun_work_learns_what_to_wait_for(organization):
    begin(organization)
    assert again(organization) == idempotency.Pending("job:1")


def test_begun_work_is_never_taken_for_abandoned(organization):
    """Its web process may have died an hour ago: the job goes on, and a second one would be charged twice."""
    begin(organization)
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert again(organization) == idempotency.Pending("job:1")


def test_answer_that_came_later_is_replayed(organization):
    begin(organization)
    assert idempotency.complete(organization, key="k", reference="job:1", status=200, body={"text": "hello"})
    assert again(organization) == idempotency.StoredResponse(200, {"text": "hello"})


def test_first_of_two_answers_stays(organization):
    begin(organization)
    assert idempotency.complete(organization, key="k", reference="job:1", status=200, body=1)
    assert not idempotency.complete(organization, key="k", reference="job:1", status=500, body=2)
    assert again(organization) == idempotency.StoredResponse(200, 1)


@pytest.mark.parametrize(("key", "reference"), [("k", "job:2"), ("other", "job:1")])
def test_answer_of_other_work_is_not_kept(organization, key, reference):
    begin(organization)
    assert not idempotency.complete(organization, key=key, reference=reference, status=200, body=1)


def test_strangers_answer_is_not_kept(organization, charlies):
    begin(organization)
    assert not idempotency.complete(charlies, key="k", reference="job:1", status=200, body=1)


def test_other_request_with_the_key_of_begun_work_is_refused(organization):
    begin(organization)
    with pytest.raises(Conflict) as caught:
        again(organization, fingerprint="g")
    assert caught.value.type == "idempotency_key_reused"


def test_begun_work_is_not_forgotten(organization):
    begin(organization).forget()
    assert again(organization) == idempotency.Pending("job:1")


def test_work_that_was_rolled_back_was_not_begun(organization):
    claim = idempotency.claim(organization, key="k", request_fingerprint="f")
    with transaction.atomic():
        claim.begin("job:1")
        transaction.set_rollback(True)
    claim.forget()
    assert isinstance(again(organization), idempotency.Claim)


def test_try_that_was_taken_over_begins_nothing(organization):
    claim = idempotency.claim(organization, key="k", request_fingerprint="f")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert isinstance(again(organization), idempotency.Claim)
    with pytest.raises(Conflict):
        claim.begin("job:1")


def test_call_that_answers_at_once_does_not_wait_for_begun_work(organization):
    begin(organization)
    with pytest.raises(Conflict) as caught:
        idempotency.once(organization, key="k", request_fingerprint="f", act=lambda keep: (201, {}))
    assert caught.value.type == "idempotency_key_in_use"


def test_key_of_what_ended_without_an_answer_is_free(organization):
    claim = idempotency.claim(organization, key="k", request_fingerprint="m")
    claim.begin("job:1")
    idempotency.release(organization, key="k", reference="job:2")
    assert idempotency.claim(organization, key="k", request_fingerprint="m") == idempotency.Pending("job:1")
    idempotency.release(organization, key="k", reference="job:1")
    assert isinstance(idempotency.claim(organization, key="k", request_fingerprint="m"), idempotency.Claim)


def test_answer_is_not_released(organization):
    once(organization)
    idempotency.release(organization, key="k", reference="")
    assert once(organization)[2] is True


def test_discarded_key_is_free_whatever_it_was_used_for(organization):
    once(organization)
    idempotency.discard(organization, key="k")
    assert once(organization)[2] is False


def test_key_of_a_token_is_its_own_and_that_of_keys_and_pages_is_shared(organization):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1}
    first, second = (tokens.issue(parent, name="t", **facts)[0] for _ in range(2))
    longest = "k" * idempotency.MAX_KEY_LENGTH
    assert idempotency.key_of(parent, longest) == idempotency.key_of(None, longest) == longest
    names = {idempotency.key_of(token, key) for token in (first, second) for key in ("k", longest)}
    assert len(names) == 4
    assert all(len(name) <= idempotency.MAX_KEY_LENGTH for name in names)
    # A token cannot spell the name of another one.
    name_of_first = idempotency.key_of(first, "k")
    assert idempotency.key_of(second, name_of_first) != name_of_first
    assert idempotency.key_of(first, "") == ""


@pytest.mark.parametrize("key", ["k" * 256, "a\nb", "\x00"])
def test_key_that_cannot_be_used_is_refused_of_a_token_too(organization, key):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1}
    token, _ = tokens.issue(parent, name="t", **facts)
    for caller in (parent, token):
        with pytest.raises(InvalidField):
            idempotency.key_of(caller, key)


def own_names():
    one, other, digest = uuid.uuid4(), uuid.uuid4(), "0f" * 32
    return [
        ("form", 7, one, digest),
        ("playground", one),
        ("rewrite", one),
        ("transcript", one, other),
        ("token", one, digest),
        ("tries", "", digest),
        ("tries", one, digest),
        ("key", digest),
    ]


def test_every_word_of_the_sites_own_names_is_tried_below():
    assert {parts[0] for parts in own_names()} == set(idempotency.OWN_WORDS)


@pytest.mark.parametrize("parts", own_names(), ids=lambda parts: parts[0])
def test_no_caller_reaches_a_record_of_the_site(organization, parts):
    """The attack: send the name of a record that the site keeps, such as `rewrite:` and the id of a job."""
    parent, _ = api_keys.issue(organization, name="server", by=None)
    facts = {"scopes": ["chat"], "lifetime": timedelta(minutes=5), "spend_limit_micros": 1}
    token, _ = tokens.issue(parent, name="t", **facts)
    own = idempotency.own_key(*parts)
    sent = str(own)
    for caller in (None, parent, token):
        kept = idempotency.key_of(caller, own)
        named = idempotency.key_of(caller, sent)
        assert kept == own or caller is token
        assert named not in (kept, own, sent)
        # Neither what it is stored under, nor what that is stored under.
        assert idempotency.key_of(caller, str(named)) not in (named, kept)
        assert len(named) <= idempotency.MAX_KEY_LENGTH


@pytest.mark.parametrize("key", ["rewrite:7", "form:abc", "playground:", "REWRITE:x", "key:1", "order:rewrite:7"])
def test_keys_of_callers_that_only_begin_like_the_sites_names_stay(organization, key):
    parent, _ = api_keys.issue(organization, name="server", by=None)
    assert idempotency.key_of(parent, key) == key


def test_own_name_that_a_caller_could_send_is_a_mistake():
    for parts in (("rewrite", 7), ("order", uuid.uuid4()), ("rewrite", "\n", uuid.uuid4())):
        with pytest.raises(AssertionError):
            idempotency.own_key(*parts)
