"""Who is signed in, as pages ask for it."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.test import RequestFactory

from accounts import access
from accounts.models import User


def test_person_is_the_one_who_is_signed_in(rf: RequestFactory, alice: User) -> None:
    request = rf.get("/")
    request.user = alice
    assert access.person(request) == alice


def test_page_of_a_person_is_not_found_by_a_visitor(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()
    with pytest.raises(Http404):
        access.person(request)
