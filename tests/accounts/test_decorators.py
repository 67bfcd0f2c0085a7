"""Views of pages: who must sign in, how errors look, and what browsers may store."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpResponse

from accounts.decorators import open_page, page, page_above
from accounts.errors import Forbidden, NotFound, RateLimited


@pytest.fixture
def request_of(rf):
    def make(user=None):
        request = rf.get("/keys/", {"id": "7"})
        request.user = user or AnonymousUser()
        return request

    return make


def answer(request, outcome):
    """Return what an open page shows whose view returns, or raises, this outcome."""

    @open_page
    def view(_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return view(request)


def test_visitor_of_a_page_for_members_signs_in_first_and_comes_back(request_of):
    response = page(lambda _: pytest.fail("the view ran"))(request_of())
    assert (response.status_code, response.url) == (302, "/accounts/login/?next=/keys/%3Fid%3D7")


def test_member_sees_the_page_and_visitors_see_open_ones(request_of, alice):
    assert page(lambda _, name: HttpResponse(name))(request_of(alice), name="keys").content == b"keys"
    assert open_page(lambda _: HttpResponse("welcome"))(request_of()).content == b"welcome"


@pytest.mark.parametrize("error", [Http404("a secret"), NotFound("The key does not exist.")])
def test_missing_object_has_our_page_even_while_debugging(request_of, settings, db, error):
    """Django's page for DEBUG would list every address of the site."""
    settings.DEBUG = True
    response = answer(request_of(), error)
    shown = response.content.decode()
    assert response.status_code == 404
    assert "Page not found" in shown
    assert "a secret" not in shown
    assert ("The key does not exist." in shown) == isinstance(error, NotFound)


def test_error_is_explained_with_its_status(request_of, db):
    response = answer(request_of(), Forbidden("Only owners can do this."))
    assert response.status_code == 403
    assert "Only owners can do this." in response.content.decode()
    assert "Retry-After" not in response


def test_rate_limit_says_when_to_come_back(request_of, db):
    response = answer(request_of(), RateLimited(retry_after=7))
    assert (response.status_code, response["Retry-After"]) == (429, "7")


def test_fault_of_the_site_is_not_hidden(request_of):
    with pytest.raises(KeyError):
        answer(request_of(), KeyError("a bug"))


def test_pages_are_not_stored_by_proxies(request_of, db):
    for outcome in (HttpResponse(), NotFound(), Forbidden()):
        assert set(answer(request_of(), outcome)["Cache-Control"].split(", ")) == {"private", "no-cache"}


def test_view_may_decide_itself_what_is_stored(request_of):
    response = HttpResponse(headers={"Cache-Control": "no-store"})
    assert answer(request_of(), response)["Cache-Control"] == "no-store"


ROOT = "/o/00000000-0000-0000-0000-000000000005"


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/keys/00000000-0000-0000-0000-000000000007/revoke/", "/keys/00000000-0000-0000-0000-000000000007/"),
        ("/organization/members/1/remove/", "/organization/"),
        ("/billing/settings/automatic/off/", "/billing/settings/automatic/"),
        (
            "/transcripts/00000000-0000-0000-0000-000000000007/delete/",
            "/transcripts/00000000-0000-0000-0000-000000000007/",
        ),
    ],
)
def test_page_above_an_address_is_the_nearest_one(path, above):
    assert page_above(ROOT + path) == ROOT + above
    assert page_above("/nothing/at/all/") == "/"


def test_browser_that_opens_the_address_of_a_form_comes_to_its_page(alice, organization, client_of):
    client = client_of(alice)
    opened = {"Sec-Fetch-Dest": "document"}
    # Of which the first one above has only a form too.
    found = client.get("/billing/settings/automatic/off/", headers=opened, follow=True)
    assert found.redirect_chain[-1][0] == f"/o/{organization.pk}/billing/settings/"
    # Whatever else asks learns that it may not.
    assert client.get("/organization/leave/", headers={"Sec-Fetch-Dest": "image"}).status_code == 405
    assert client.delete("/organization/leave/", headers=opened).status_code == 405
