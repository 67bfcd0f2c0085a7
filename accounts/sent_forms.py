"""Forms that create something: sent twice, by a double click, Back or Reload, they create one thing.

Such a form has a token, new for every view of its page (templates/parts/form_token.html).
"""

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.utils.crypto import salted_hmac

from accounts import access, database_connection
from accounts.errors import Conflict
from accounts.gate import idempotency
from accounts.models import Membership, Organization

FIELD = "form_token"
# How long the second request of a double click waits for the answer of the first one.
WAIT_SECONDS = 30
POLL_SECONDS = 0.1
# How many requests of one form wait in this process: each has a thread meanwhile. More are refused.
MAX_WAITING = 2

_waiting: Counter[str] = Counter()
_waiting_lock = threading.Lock()

View = Callable[..., HttpResponseBase]


class RedirectOnce(HttpResponseRedirect):
    """A redirect after a form. Whoever sends the form again is led to `again` instead."""

    def __init__(self, url: str, *, again: str) -> None:
        super().__init__(url)
        self.again = again


class RefusedRedirect(HttpResponseRedirect):
    """A redirect after a form that was refused, with a message of why. The same form may be sent again."""


def sent_once(view: View, *, wait_seconds: float = WAIT_SECONDS) -> View:
    """Decorate a view that creates something by a POST, below `page`: a form that is sent again gets the first answer.

    Only answers that say that something was created count: redirects but `RefusedRedirect`, and JSON with 201. After
    any other one the same form may be sent again. A form with other fields is another form, also from a page that the
    browser kept. Requests without a token are not compared. A crash between the act and its record lets one more
    request act.

    wait_seconds: how long the second of two requests waits for the answer of the first one.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        token = _token(request)
        if token is None:
            return view(request, *args, **kwargs)
        ours = _claim(request, token=token, wait_seconds=wait_seconds)
        if isinstance(ours, idempotency.StoredResponse):
            return _repeated(ours)
        try:
            response = view(request, *args, **kwargs)
        except BaseException:
            ours.forget()
            raise
        if isinstance(response, HttpResponseRedirect) and not isinstance(response, RefusedRedirect):
            again = response.again if isinstance(response, RedirectOnce) else response.url
            ours.keep(response.status_code, {"url": again})
        elif isinstance(response, JsonResponse) and response.status_code == 201:
            ours.keep(response.status_code, json.loads(response.content))
        else:
            ours.forget()
        return response

    return answer


def _token(request: HttpRequest) -> uuid.UUID | None:
    if request.method != "POST":
        return None
    try:
        return uuid.UUID(request.POST.get(FIELD, ""))
    except ValueError:
        return None


def _claim(
    request: HttpRequest, *, token: uuid.UUID, wait_seconds: float
) -> idempotency.Claim | idempotency.StoredResponse:
    """Claim the form, or return what its first request was answered. Raises Conflict if that one takes very long.

    Raises Conflict also if enough requests wait for that answer.
    """
    organization = _organization_of_records(request)
    # The digest has a key. Somebody who reads the table could otherwise guess a secret in the form.
    content = idempotency.fingerprint(request.path, data=_content(request))
    digest = salted_hmac("accounts.sent_forms", content, algorithm="sha256").hexdigest()
    key = idempotency.own_key("form", access.person_id(request), token, digest)
    give_up_at = time.monotonic() + wait_seconds
    with suppress(Conflict):
        return _found(organization, key=key, digest=digest)
    with _place(key):
        while True:
            # Whoever waits needs no connection: a few slow forms would keep them all.
            database_connection.release()
            time.sleep(POLL_SECONDS)
            try:
                return _found(organization, key=key, digest=digest)
            except Conflict:
                if time.monotonic() > give_up_at:
                    raise _still_running() from None


def _found(organization: Organization, *, key: str, digest: str) -> idempotency.Claim | idempotency.StoredResponse:
    """Claim the form, or return its stored answer. Raises Conflict while its first request runs."""
    found = idempotency.claim(organization, key=key, request_fingerprint=digest)
    assert not isinstance(found, idempotency.Pending), "no form begins what is answered later"
    return found


@contextmanager
def _place(key: str) -> Iterator[None]:
    """Take a place among those that wait. Raises Conflict if there is none."""
    with _waiting_lock:
        if _waiting[key] >= MAX_WAITING:
            raise _still_running()
        _waiting[key] += 1
    try:
        yield
    finally:
        with _waiting_lock:
            _waiting[key] -= 1
            if not _waiting[key]:
                del _waiting[key]


def _still_running() -> Conflict:
    return Conflict("This form was sent twice, and the first one is still running.")


def _organization_of_records(request: HttpRequest) -> Organization:
    """Return the person's oldest organization: a form may make another one the current one."""
    memberships = Membership.objects.select_related("organization").of_open_organizations()
    oldest = memberships.filter(user_id=access.person_id(request)).order_by("created_at", "pk").first()
    return oldest.organization if oldest is not None else access.organization_for(request)


def _content(request: HttpRequest) -> Any:
    """Return the fields and files of the form, without the secret that changes at every view."""
    content = request.POST.copy()
    content.pop("csrfmiddlewaretoken", None)
    for name, files in request.FILES.lists():
        content.setlist(name, files)  # type: ignore[arg-type]  # `fingerprint` reads files too
    return content


def _repeated(stored: idempotency.StoredResponse) -> HttpResponse:
    if stored.status == 201:
        return JsonResponse(stored.body, status=201)
    return HttpResponseRedirect(stored.body["url"])
