"""Every request with a key is logged, whichever part of the application answers it."""

import asyncio

import pytest

from accounts import api_keys
from accounts.gate import request_ids
from accounts.models import ApiRequest
from billing.models import Wallet
from tests.transcription.dialects import waiting_calls
from tests.voxsite.test_request_metrics import ask
from transcription.models import Job
from voxsite import asgi, request_logging

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None, scopes=["read"])


def logged(organization):
    asgi.request_log.flush()
    return [
        (row.method, row.path, row.status, row.error_type) for row in ApiRequest.objects.of(organization).order_by("pk")
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "error_type"),
    [
        ("GET", "/v1/jobs", 200, ""),
        ("GET", "/v1/jobs/no-job", 404, "job_not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/v1/transcribe", 403, "insufficient_scope"),
        ("GET", "/v1/apex/models", 200, ""),
        ("POST", "/v1/apex/chat/completions", 403, "insufficient_scope"),
        ("GET", "/openai/v1/models", 200, ""),
        ("GET", "/v1/nowhere", 404, "not_found"),
    ],
)
def test_requests_are_logged_however_they_are_answered(organization, key, method, path, status, error_type):
    headers = [(b"x-api-key", key[1].encode())]
    assert ask(path, method=method, headers=headers) == status
    assert logged(organization) == [(method, path, status, error_type)]
    row = ApiRequest.objects.get()
    assert row.request_id.startswith("req_")
    assert row.key_id == key[0].pk


def test_key_counts_in_whatever_header_it_is_sent(organization, key):
    assert ask("/v1/jobs", headers=[(b"authorization", f"Bearer {key[1]}".encode())]) == 200
    assert ask("/v1/jobs", headers=[(b"authorization", f"Token {key[1]}".encode())]) == 401
    assert [status for _, _, status, _ in logged(organization)] == [200, 401]


def test_request_id_of_the_caller_is_logged(organization, key):
    ask("/v1/jobs", headers=[(b"x-api-key", key[1].encode()), (b"x-request-id", b"mine-12345")])
    logged(organization)
    assert ApiRequest.objects.get().request_id == "mine-12345"


def test_requests_without_a_key_are_not_logged(organization):
    ask("/health")
    ask("/v1/jobs")
    assert asgi.request_log.flush() == 0


def test_path_with_a_nul_is_logged_and_those_after_it(organization, key):
    headers = [(b"x-api-key", key[1].encode())]
    assert [ask(path, headers=headers) for path in ("/v1/jobs/\0", "/v1/jobs")] == [404, 200]
    assert [path for _, path, _, _ in logged(organization)] == ["/v1/jobs/\ufffd", "/v1/jobs"]


@pytest.mark.parametrize(("balance_micros", "status"), [(1_000_000, 201), (83, 402)])
def test_order_is_logged_with_its_job_and_a_refused_one_with_none(organization, balance_micros, status):
    """For 83 micro-dollars there is a second of speech, so the order is refused when its recording is known."""
    _, secret = api_keys.issue(organization, name="orders", by=None)
    Wallet.objects.update(balance_micros=balance_micros)

    async def order():
        sent = waiting_calls.call("/v1/transcribe", key=secret, application=asgi.application)
        await sent.end()
        return sent.status

    assert asyncio.run(order()) == status
    logged(organization)
    assert ApiRequest.objects.get().job_id == Job.objects.values_list("pk", flat=True).first()


def test_requests_at_once_keep_their_own_errors(organization, key):
    async def both():
        await asyncio.gather(
            *(
                asyncio.to_thread(ask, path, headers=[(b"x-api-key", key[1].encode())])
                for path in ("/v1/jobs/no-job", "/v1/nowhere")
            )
        )

    asyncio.run(both())
    assert {(path, error) for _, path, _, error in logged(organization)} == {
        ("/v1/jobs/no-job", "job_not_found"),
        ("/v1/nowhere", "not_found"),
    }


@pytest.mark.parametrize("offered", [b"", b"mine-12345"])
def test_request_whose_client_left_before_the_answer_has_an_id(organization, key, offered):
    headers = [(b"x-api-key", key[1].encode()), *([(b"x-request-id", offered)] if offered else [])]
    assert ask("/v1/jobs", headers=headers, leaves=True) is None
    assert logged(organization) == [("GET", "/v1/jobs", request_logging.CLIENT_LEFT, "")]
    request_id = ApiRequest.objects.get().request_id
    assert request_id == offered.decode() if offered else request_id.startswith("req_")


def test_id_that_a_view_had_is_logged_although_it_sent_no_byte(organization, key):
    had = []

    async def view(scope, receive, send):
        had.append(request_ids.request_id_for(""))

    scope = {"type": "http", "method": "GET", "path": "/v1/jobs", "headers": [(b"x-api-key", key[1].encode())]}
    asyncio.run(request_logging.LogsRequests(view, log=asgi.request_log)(scope, None, None))
    logged(organization)
    assert [ApiRequest.objects.get().request_id] == had
