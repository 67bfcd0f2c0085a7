"""The page of API requests: what it shows, and to whom."""

import uuid

import pytest
from django.test import Client

from accounts import api_keys
from tests.accounts.gate.test_request_log import log, make_request


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="production", by=None)


def test_members_see_what_was_asked_and_answered(alice, bob, organization, key, client_of):
    job_id = uuid.uuid4()
    log(make_request(key[1], path="/v1/transcribe", method="POST", status=201, job_id=str(job_id)))
    log(make_request(key[1], path="/v1/jobs/9", status=404, error_type="job_not_found", request_id="req_abcdef"))
    for person in (alice, bob):
        page = client_of(person).get("/requests/").content.decode()
        for text in ("POST /v1/transcribe", "GET /v1/jobs/9", "404", "job_not_found", "req_abcdef", "production"):
            assert text in page
        assert f'href="/o/{organization.pk}/transcripts/{job_id}/"' in page


def test_visitor_is_asked_to_sign_in_and_a_stranger_sees_nothing(charlie, organization, key, client_of):
    log(make_request(key[1], path="/v1/secret"))
    assert Client().get(f"/o/{organization.pk}/requests/").status_code == 302
    assert client_of(charlie).get(f"/o/{organization.pk}/requests/").status_code == 404
    assert "/v1/secret" not in client_of(charlie).get("/requests/").content.decode()


def test_filter_is_kept_from_page_to_page(alice, key, client_of):
    log(*(make_request(key[1], path=f"/v1/jobs/{number}") for number in range(51)))
    log(make_request(key[1], status=500))
    client = client_of(alice)
    page = client.get("/requests/", {"key": str(key[0].pk), "outcome": "ok"})
    assert len(page.context["requests"]) == 50
    before = page.context["next_before"]
    address = f"key={key[0].pk}&amp;outcome=ok&amp;before={before}"
    assert address in page.content.decode()
    rest = client.get("/requests/", {"key": str(key[0].pk), "outcome": "ok", "before": before})
    assert [each["row"].path for each in rest.context["requests"]] == ["/v1/jobs/0"]


@pytest.mark.parametrize("filters", [{"key": "none"}, {"outcome": "maybe"}, {"before": "0"}, {"q": "x" * 201}])
def test_bad_filter_is_explained_and_shows_no_rows(alice, key, client_of, filters):
    log(make_request(key[1]))
    page = client_of(alice).get("/requests/", filters)
    assert page.status_code == 400
    assert page.context["requests"] == []


def test_key_of_another_organization_is_no_choice(alice, charlies, client_of):
    theirs, _ = api_keys.issue(charlies, name="theirs", by=None)
    assert client_of(alice).get("/requests/", {"key": str(theirs.pk)}).status_code == 400


def test_empty_log_says_what_belongs_there(alice, organization, client_of):
    client = client_of(alice)
    assert "No requests yet" in client.get("/requests/").content.decode()
    assert "No requests match" in client.get("/requests/", {"q": "402"}).content.decode()
