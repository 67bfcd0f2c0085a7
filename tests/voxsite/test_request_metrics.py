from types import SimpleNamespace

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from prometheus_client.core import REGISTRY

from voxsite import request_metrics


def count(**labels):
    return REGISTRY.get_sample_value("voxsite_http_requests_total", labels) or 0


@pytest.mark.parametrize(
    ("method", "view_name", "response", "labels"),
    [
        ("GET", "landing", HttpResponse(), {"view": "landing", "method": "GET", "status": "200"}),
        ("POST", "landing", HttpResponse(status=404), {"view": "landing", "method": "POST", "status": "404"}),
        ("POST", "landing", None, {"view": "landing", "method": "POST", "status": "499"}),
        ("GET", None, HttpResponse(status=404), {"view": "unknown", "method": "GET", "status": "404"}),
        ("BREW", "landing", HttpResponse(status=405), {"view": "landing", "method": "other", "status": "405"}),
    ],
)
def test_request_is_counted_once_under_names_of_ours(method, view_name, response, labels):
    request = RequestFactory().generic(method, "/any/address/of/a/stranger")
    request.resolver_match = SimpleNamespace(view_name=view_name) if view_name else None
    before = count(**labels)
    request_metrics.record(request, response, seconds=0.2)
    assert count(**labels) == before + 1
