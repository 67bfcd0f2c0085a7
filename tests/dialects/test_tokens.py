"""Tokens of browsers in every dialect: none spends or reads beyond its scope, its life and its limit."""

from datetime import timedelta
from io import BytesIO

import pytest
from django.test import Client
from django.utils import timezone

from accounts import api_keys, tokens
from accounts.models import ApiKey
from billing import ledger, usage
from billing.models import Entry, EntryKind, Hold, TokenSpend, Wallet
from tests.conftest import AUDIO, Api
from tests.dialects.faces import FACES, SENTENCE
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.models import Job, Media, Upload

pytestmark = pytest.mark.django_db(transaction=True)
CONTENT = (AUDIO / SENTENCE).read_bytes()
ENOUGH = 1_000_000


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request, settings):
    settings.MAX_WAIT_SECONDS = 120
    return request.param


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def parent(organization):
    return api_keys.issue(organization, name="server", by=None)[0]


def issue(parent, *, scopes=("transcribe",), limit=ENOUGH):
    facts = {"scopes": scopes, "lifetime": timedelta(minutes=10), "spend_limit_micros": limit}
    return tokens.issue(parent, name="t", **facts)


def assert_nothing_was_spent(organization):
    assert not Job.objects.exists()
    assert not Media.objects.exists()
    assert not Hold.objects.filter(token_id__isnull=False).exclude(state="released").exists()
    assert ledger.wallet_of(organization).held_micros == 0


@pytest.mark.long
def test_work_of_a_token_is_charged_once_within_its_limit_and_to_its_key(
    face, client, parent, organization, fake_engine
):
    token, secret = issue(parent)
    assert face.transcribe(client, key=secret, content=CONTENT).failure is None
    job = Job.objects.get()
    assert job.cost_micros > 0
    assert TokenSpend.objects.get(token=token).spent_micros == job.cost_micros
    entry = Entry.objects.get(kind="usage")
    assert (entry.details["api_key_id"], entry.details["token_id"]) == (str(parent.pk), str(token.pk))
    today = timezone.now().date()
    [line] = usage.lines(organization, since=today, until=today, group_by=["key"])
    assert (line.group["key"].key_id, line.amounts.cost_micros) == (parent.pk, job.cost_micros)
    assert list(ledger.faults()) == []


@pytest.mark.long
def test_second_work_beyond_the_limit_is_refused(face, client, parent, organization, fake_engine):
    _, first = issue(parent)
    assert face.transcribe(client, key=first, content=CONTENT).failure is None
    cost_micros = Job.objects.get().cost_micros
    token, secret = issue(parent, limit=2 * cost_micros - 1)
    assert face.transcribe(client, key=secret, content=CONTENT).failure is None
    failure = face.failure(face.submit(client, key=secret, content=CONTENT))
    assert (failure.status, failure.type) == (402, "spend_limit_reached")
    assert TokenSpend.objects.get(token=token).spent_micros == cost_micros
    assert (ledger.wallet_of(organization).held_micros, list(ledger.faults())) == (0, [])


def test_limit_of_the_token_refuses(face, client, parent, organization):
    _, secret = issue(parent, limit=1)
    failure = face.failure(face.submit(client, key=secret, content=CONTENT))
    assert (failure.status, failure.type) == (402, "spend_limit_reached")
    assert_nothing_was_spent(organization)


def set_limit_of_key(organization, parent):
    api_keys.set_monthly_limit(organization, key_id=parent.pk, limit_micros=1)


def set_limit_of_organization(organization, parent):
    ledger.set_monthly_limit(organization, limit_micros=1)


def empty_wallet(organization, parent):
    Wallet.objects.update(balance_micros=1)


def freeze_wallet(organization, parent):
    ledger.freeze(organization, reason="dispute:7")


def owe(organization, parent):
    paid_micros = ledger.wallet_of(organization).balance_micros
    ledger.claw_back(organization, amount_micros=paid_micros + 7, kind=EntryKind.REFUND, reference="claw:7")


WALLS = [set_limit_of_key, set_limit_of_organization, empty_wallet, freeze_wallet, owe]


def assert_tells_nothing(response):
    """The attack: read what a site has, and whether a payment of it is disputed, by what its token is refused for."""
    told = response.content.decode()
    assert "The site cannot pay for this now." in told
    for word in (
        "micros",
        "_cents",
        "$",
        "limit",
        "frozen",
        "disputed",
        "owed",
        "organization",
        "wallet",
        "balance is",
    ):
        assert word not in told, told


@pytest.mark.long
@pytest.mark.parametrize("wall", WALLS)
def test_refusal_tells_a_token_nothing_of_the_organization(face, client, parent, organization, wall):
    _, secret = issue(parent)
    wall(organization, parent)
    response = face.submit(client, key=secret, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (402, "insufficient_balance")
    assert_tells_nothing(response)
    assert_nothing_was_spent(organization)


@pytest.mark.long
@pytest.mark.parametrize("wall", WALLS)
@pytest.mark.parametrize("kind", ["transcription", "language_detection", "chat", "answer", "rewriting"])
def test_estimate_tells_a_token_nothing_of_the_organization(client, chat, parent, organization, kind, wall):
    token, secret = issue(parent, scopes=["transcribe", "chat"])
    job = finished(organization, api_key=token)
    wall(organization, parent)
    body = {
        "transcription": {"duration_seconds": 3600},
        "language_detection": {"duration_seconds": 3600},
        "chat": {"request": {"model": "apex-latest", "messages": [{"role": "user", "content": "Hello"}]}},
        "answer": {"job_id": str(job.pk)},
        "rewriting": {"job_id": str(job.pk), "instruction": "Shorten it."},
    }[kind]
    told = Api(secret).post("/v1/estimate", {"kind": kind, **body}, content_type="application/json").json()
    assert (told["is_allowed"], told["held_micros"]) == (False, 0)
    assert told["refusal"] == {"type": "insufficient_balance", "message": "The site cannot pay for this now."}


def test_answer_of_a_job_tells_a_token_only_what_it_has_left(client, parent, organization):
    token, secret = issue(parent, limit=70_000)
    job = finished(organization, dialect="transcribeapi", api_key=token)
    told = client.get(f"/transcribeapi/v1/transcribe/{job.pk}", headers={"Authorization": f"Bearer {secret}"}).json()
    left_micros = 70_000 - job.cost_micros
    assert told["remaining_balance"] == left_micros / 1_000_000


def finished(organization, **fields):
    job = make_job(organization, **fields)
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


def test_token_for_something_else_is_refused(face, client, parent, organization):
    _, secret = issue(parent, scopes=["chat", "read"])
    failure = face.failure(face.submit(client, key=secret, content=CONTENT))
    assert (failure.status, failure.type) == (403, "insufficient_scope")
    assert_nothing_was_spent(organization)


@pytest.mark.long
@pytest.mark.parametrize("end", ["expired", "revoked", "parent revoked", "parent rotated", "parent expired"])
def test_token_that_has_ended_is_refused(face, client, parent, organization, end):
    token, secret = issue(parent)
    past = timezone.now() - timedelta(seconds=1)
    if end == "expired":
        ApiKey.objects.filter(pk=token.pk).update(expires_at=past)
    elif end == "revoked":
        tokens.revoke(parent, token_id=token.pk)
    elif end == "parent revoked":
        api_keys.revoke(organization, key_id=parent.pk)
    elif end == "parent rotated":
        api_keys.rotate(parent, overlap=timedelta(0), by=None)
    else:
        parent, _ = api_keys.issue(
            organization, name="short", by=None, expires_at=timezone.now() + timedelta(seconds=30)
        )
        token, secret = issue(parent)
        # It ends when its key does, however long it was to live.
        ApiKey.objects.filter(pk=token.pk).update(expires_at=token.expires_at - timedelta(seconds=31))
    failure = face.failure(face.submit(client, key=secret, content=CONTENT))
    assert (failure.status, failure.type) == (401, "invalid_api_key")
    assert_nothing_was_spent(organization)


def addresses_of(job):
    """Every address of a job, as (method, path)."""
    native, sent = f"/v1/jobs/{job.pk}", f"/transcribeapi/v1/jobs/{job.pk}"
    other = f"/transcribeapi/v1/transcribe/{job.pk}"
    reads = (
        native,
        f"{native}/items",
        f"{native}/result",
        f"{native}/result.srt",
        f"{native}/events",
        f"/v1/status/{job.pk}",
        other,
        f"{other}/result",
    )
    orders = (f"{native}/cancel", f"{other}/upload-completed", f"{sent}/upload-urls", f"{sent}/resume-upload")
    return [*(("GET", path) for path in reads), *(("POST", path) for path in orders), ("DELETE", native)]


@pytest.mark.long
@pytest.mark.parametrize("owner", ["key", "other key", "other token", "page"])
def test_token_knows_of_its_own_jobs_only(client, chat, parent, organization, owner):
    """The attack: a visitor reads, cancels and deletes what the site and its other visitors have sent."""
    _, secret = issue(parent, scopes=["transcribe", "read"])
    whose = {
        "key": parent,
        "other key": api_keys.issue(organization, name="other", by=None)[0],
        "other token": issue(parent)[0],
        "page": None,
    }[owner]
    ended, waiting = finished(organization, api_key=whose), make_job(organization, api_key=whose)
    for job in (ended, waiting):
        for method, path in addresses_of(job):
            body = {} if method == "GET" else {"data": "{}", "content_type": "application/json"}
            headers = {"Authorization": f"Bearer {secret}"}
            status = client.generic(method, path, **body, headers=headers).status_code
            assert status == 404, (method, path)
    for body in ({"kind": "answer"}, {"kind": "rewriting", "instruction": "Say it."}):
        body["job_id"] = str(ended.pk)
        assert Api(secret).post("/v1/estimate", body, content_type="application/json").status_code == 404
    assert Api(secret).get("/v1/jobs").json()["jobs"] == []
    assert Api(secret).get("/v1/jobs?q=hello").json()["jobs"] == []
    waiting.refresh_from_db()
    assert (Job.objects.count(), waiting.status) == (2, "queued")


def test_token_has_all_of_its_own_jobs_and_its_key_too(client, parent, organization):
    token, secret = issue(parent, scopes=["transcribe", "read"])
    server = api_keys.issue(organization, name="reader", by=None)[1]
    job = finished(organization, api_key=token)
    for key in (secret, server):
        assert [one["id"] for one in Api(key).get("/v1/jobs").json()["jobs"]] == [str(job.pk)]
        assert Api(key).get(f"/v1/jobs/{job.pk}/result").status_code == 200
    assert client.delete(f"/v1/jobs/{job.pk}", headers={"X-API-Key": secret}).status_code == 200
    assert not Job.objects.exists()


def test_token_stores_nothing_for_later_and_orders_no_file_of_the_site(parent, organization):
    _, server = api_keys.issue(organization, name="server", by=None)
    _, secret = issue(parent)
    stored = Api(server).post("/v1/upload", {"file": BytesIO(CONTENT)})
    file_id = stored.json()["file_id"]
    assert Api(secret).post("/v1/upload", {"file": BytesIO(CONTENT)}).status_code == 403
    assert Api(secret).post("/v1/upload", {"url": "https://example.com/a.wav"}).status_code == 403
    one, batch = {"file_id": file_id}, {"files": [{"file_id": file_id}]}
    for path, body in (("/v1/transcribe", one), ("/v1/transcribe", batch), ("/v1/estimate", one)):
        refused = Api(secret).post(path, body, content_type="application/json")
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "file_not_found"), path
        assert Api(server).post(path, body, content_type="application/json").status_code in (200, 201), path


@pytest.mark.long
def test_idempotency_key_gives_each_token_work_of_its_own(face, client, parent, fake_engine):
    """The attack: guess the Idempotency-Key of the site's server or of another visitor, and send the same file.

    Nor may a visitor find out that a key was used, or use it up before the server does.
    """
    _, server = api_keys.issue(parent.organization, name="server", by=None)
    headers = {"Idempotency-Key": "invoice-1"}
    for number, caller in enumerate((issue(parent)[1], server, issue(parent)[1])):
        before = [str(job.pk) for job in Job.objects.all()]
        first = face.transcribe(client, key=caller, content=CONTENT, headers=headers)
        assert first.failure is None
        assert Job.objects.count() == number + 1
        again = face.submit(client, key=caller, content=CONTENT, headers=headers)
        assert again.status_code == first.response.status_code
        assert again.headers["Idempotency-Replayed"] == "true"
        assert Job.objects.count() == number + 1
        for response in (first.response, again):
            assert not any(job_id in response.content.decode() for job_id in before)
    assert ledger.wallet_of(parent.organization).held_micros == 0


@pytest.mark.parametrize("path", ["/transcribeapi/v1/transcribe", "/transcribeapi/v1/jobs"])
def test_job_of_transcribeapi_that_is_announced_twice_is_one_for_each_token(client, parent, path):
    _, server = api_keys.issue(parent.organization, name="server", by=None)
    body = {"type": "batch", **announced()} if path.endswith("jobs") else announced()
    made = set()
    for caller in (issue(parent)[1], server, issue(parent)[1]):
        headers = {"Authorization": f"Bearer {caller}", "Idempotency-Key": "visit"}
        one, other = (
            client.post(path, body, content_type="application/json", headers=headers).json() for _ in range(2)
        )
        assert one["job_id"] == other["job_id"]
        made.add(one["job_id"])
    assert len(made) == Job.objects.count() == 3


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/upload"), ("POST", "/transcribeapi/v1/add-funds"), ("POST", "/v1/tokens")]
)
def test_routes_that_are_closed_to_tokens_replay_nothing_to_them(client, parent, method, path):
    _, secret = issue(parent)
    headers = {"Authorization": f"Bearer {secret}", "X-API-Key": secret, "Idempotency-Key": "invoice-1"}
    response = client.generic(method, path, "{}", content_type="application/json", headers=headers)
    assert response.status_code == 403, response.content
    assert "Idempotency-Replayed" not in response.headers


@pytest.mark.long
def test_token_of_another_organization_sees_no_job(face, client, parent, charlies, fake_engine):
    _, secret = issue(parent)
    assert face.transcribe(client, key=secret, content=CONTENT).failure is None
    job = Job.objects.get()
    stranger, _ = api_keys.issue(charlies, name="stranger", by=None)
    _, strangers = issue(stranger, scopes=["transcribe", "read"])
    for path in (f"/v1/jobs/{job.pk}", f"/v1/jobs/{job.pk}/result", f"/v1/jobs/{job.pk}/items"):
        assert Api(strangers).get(path).status_code == 404
        assert Api(secret).get(path).status_code == 200
    assert Api(strangers).client.delete(f"/v1/jobs/{job.pk}", headers={"X-API-Key": strangers}).status_code == 404
    assert Api(strangers).get("/v1/jobs").json()["jobs"] == []
    # To list jobs takes another scope than to order them.
    assert Api(secret).get("/v1/jobs").status_code == 403


def transcribeapi(client, secret, body, headers=None):
    return client.post(
        "/transcribeapi/v1/transcribe",
        body,
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}", **(headers or {})},
    )


def announced(**fields):
    return {"files": [{"reference_id": "one", "size_bytes": len(CONTENT), **fields}]}


def test_token_without_money_stores_nothing(client, parent, organization):
    """The attack: announce and send files for nothing, until the organization may store no more."""
    _, secret = issue(parent, limit=0)
    url = {"url": "https://example.com/a.wav"}
    made = [
        transcribeapi(client, secret, announced()),
        transcribeapi(client, secret, {"files": [{"reference_id": "one", **url}]}),
        Api(secret).post("/v1/transcribe", url),
        Api(secret).post("/v1/transcribe", {"files": [url]}, content_type="application/json"),
        Api(secret).transcribe(),
    ]
    assert [response.status_code for response in made] == [402] * 5, [response.content for response in made]
    assert not Upload.objects.exists()
    assert_nothing_was_spent(organization)


def test_visitors_who_share_a_token_get_a_job_each(client, parent):
    _, secret = issue(parent)
    first, second = (transcribeapi(client, secret, announced()).json()["job_id"] for _ in range(2))
    assert first != second
    again = [transcribeapi(client, secret, announced(), {"Idempotency-Key": "visit-1"}).json() for _ in range(2)]
    assert again[0]["job_id"] == again[1]["job_id"]


def test_token_names_no_webhook(client, parent, organization):
    """The attack: have webhooks that the site signs for its customer sent to the visitor."""
    _, secret = issue(parent)
    hook = {"webhook_url": "https://visitor.example/hook"}
    refused = [
        Api(secret).transcribe(**hook, webhook_auth_header_name="X-Its", webhook_auth_header_value="me"),
        transcribeapi(client, secret, {**announced(), **hook}),
        client.post(
            "/transcribeapi/v1/jobs",
            {"type": "batch", **announced(), **hook},
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        ),
        client.post(
            "/transcribeapi/v1/transcribe",
            {"file": BytesIO(CONTENT), **hook},
            headers={"Authorization": f"Bearer {secret}"},
        ),
    ]
    assert [response.status_code for response in refused] == [400] * 4
    assert all("webhook" in response.content.decode() for response in refused)
    assert_nothing_was_spent(organization)


@pytest.mark.long
@pytest.mark.parametrize("is_purged", [False, True])
def test_job_that_a_member_runs_again_is_charged_to_the_key_of_its_token(parent, organization, is_purged):
    token, _ = issue(parent, limit=3_000)
    job = make_job(organization, api_key=token, duration_ms=30_000)
    jobs.cancel(job)
    tokens.revoke(parent, token_id=token.pk)
    ApiKey.objects.filter(pk=token.pk).update(monthly_limit_micros=0)
    if is_purged:
        token.delete()
    again = jobs.run_again(Job.objects.get(pk=job.pk))
    hold = Hold.objects.get(reference=again.hold_reference)
    expected = None if is_purged else parent.pk
    assert (again.api_key_id, hold.api_key_id, hold.token_id) == (expected, expected, None)
    assert list(ledger.faults()) == []
