"""Which foreign exceptions the gate knows; how answers look is tested for all dialects in tests/dialects."""

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousFileOperation
from django.http import Http404
from rest_framework import exceptions as drf

from accounts.errors import InternalError
from accounts.gate.views import translate


@pytest.mark.parametrize(
    ("foreign", "status"),
    [
        (RequestDataTooBig(), 413),
        (SuspiciousFileOperation(), 400),
        (drf.ParseError(), 400),
        (drf.UnsupportedMediaType("text/x"), 400),
        (drf.MethodNotAllowed("PUT"), 405),
        (drf.NotFound(), 404),
        (Http404(), 404),
        (KeyError("secret"), 500),
    ],
)
def test_foreign_errors_are_translated(foreign, status):
    error = translate(foreign, request_id="")
    assert error.http_status == status
    assert "secret" not in error.message


def test_every_error_of_the_framework_has_a_meaning():
    """A class that DRF adds one day must be mapped, or be one that our views cannot raise."""
    never_raised = {
        "ValidationError",
        "AuthenticationFailed",
        "NotAuthenticated",
        "PermissionDenied",
        "NotAcceptable",
        "Throttled",
    }
    for kind in drf.APIException.__subclasses__():
        if kind.__module__ == drf.__name__ and kind.__name__ not in never_raised:
            made = kind("x") if kind in {drf.MethodNotAllowed, drf.UnsupportedMediaType} else kind()
            assert not isinstance(translate(made, request_id=""), InternalError)
