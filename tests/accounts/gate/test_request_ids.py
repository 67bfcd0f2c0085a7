"""Request ids: the caller's own if it is safe, and otherwise one that is new for each request."""

import pytest
from django.http import HttpResponse

from accounts.gate.request_ids import RequestIdMiddleware, request_id_for


@pytest.mark.parametrize("offered", ["order-0001", "a" * 128, "A.b_c:9-0"])
def test_safe_id_of_the_caller_is_used(offered):
    assert request_id_for(offered) == offered


@pytest.mark.parametrize(
    "offered", ["", "short", "a" * 129, "order 0001", "order-0001\nforged line", "order-0001\n", "\u00f6rder-0001"]
)
def test_other_ids_are_replaced(offered):
    replaced = request_id_for(offered)
    assert replaced.startswith("req_")
    assert replaced != request_id_for(offered)
    # A trusted proxy may send the id a second time.
    assert request_id_for(replaced) == replaced


@pytest.mark.parametrize("headers", [{}, {"X-Request-Id": "order-0001"}, {"X-Request-Id": "<script>"}])
def test_view_and_caller_see_the_same_id(rf, headers):
    seen = []

    def view(request):
        seen.append(request.request_id)
        return HttpResponse()

    response = RequestIdMiddleware(view)(rf.get("/", headers=headers))
    assert [response.headers["X-Request-Id"]] == seen
    assert (seen == ["order-0001"]) == (headers.get("X-Request-Id") == "order-0001")
