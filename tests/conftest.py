"""People and things that every test may ask for: Alice owns an organization, Bob is in it, Charlie is a stranger."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import stripe
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, TransactionTestCase
from redis import Redis

from accounts import api_keys, log_context, mail_queue, organizations, redis_connections
from accounts.gate import limits
from accounts.models import Membership, Organization, Role, User
from apex import upstream
from tests import clients, database, product
from tests.apex import scripted
from tests.apex.exchange import ScriptedUpstream
from tests.emptying import empty_tables
from tests.stripe import StripeSandbox

if TYPE_CHECKING:
    from tests.transcription.speech.fakes import FakeEngine

# A busy machine is slow, which is no fault of what is tested.
hypothesis.settings.register_profile(
    "voxsite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("voxsite")

FIXTURES = Path(__file__).parent / "fixtures"
AUDIO = FIXTURES / "audio"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the browser's tests out of runs without them: each process would load Playwright."""
    return True if collection_path.name == "browser" and "not browser" in config.option.markexpr else None


def text_of(file_name: str) -> str:
    """Return what is said in a recording of tests/fixtures/audio."""
    recordings = json.loads((AUDIO / "recordings.json").read_text())
    return next(recording["text"] for recording in recordings if recording["file"] == file_name)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """Replaces pytest-django's, which migrates in every process: gives this one a copy of the migrated database."""
    connection.close()
    if connection.vendor == "sqlite":
        connection.settings_dict["NAME"] = connection.settings_dict["TEST"]["NAME"]
        database.copy_file(Path(connection.settings_dict["NAME"]))
        yield
        return
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    connection.settings_dict["NAME"] = f"test_{connection.settings_dict['NAME']}{worker and '_'}{worker}"
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    database.create(url)
    yield
    with django_db_blocker.unblock():
        connection.close()
    database.drop(url)


@pytest.fixture(scope="session")
def node() -> clients.Node:
    return clients.node_in(Path(os.environ["VOXSITE_TEST_DIR"]) / "node")


@pytest.fixture(autouse=True, scope="session")
def tables_are_emptied_quickly() -> Iterator[None]:
    """Ends the tests that commit. The ledger's triggers would refuse Django's own way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: empty_tables())
        yield


@pytest.fixture(scope="session")
def redis_of_tests() -> Iterator[Redis]:
    with Redis.from_url(settings.REDIS_URL) as client:
        yield client


@pytest.fixture(autouse=True, scope="session")
def addresses_of_development() -> None:
    """Route all addresses now. A test without the sandbox that came first would leave its addresses out for all."""
    importlib.import_module(settings.ROOT_URLCONF)


@pytest.fixture(autouse=True)
def clean_redis(redis_of_tests: Redis) -> None:
    """Start every test without counted requests, cached values or queued tasks."""
    redis_of_tests.flushdb()
    # A test before may have met a Redis that did not answer.
    redis_connections.forget()
    for rest in (mail_queue._rest, mail_queue._clock_rest):
        rest.end()


@pytest.fixture(autouse=True)
def about_nothing() -> None:
    """Start every test as a request that nobody has sent yet. Otherwise a person of the test before would act in it."""
    log_context.begin()


@pytest.fixture(autouse=True)
def mail_as_in_production(settings: Any) -> None:
    """Send by the backend of production, which keeps what the transport does not take. `mail.outbox` is the transport.

    Django sets another backend for tests, which hides whether a caller learns that no mail server took its mail.
    """
    settings.EMAIL_BACKEND = "accounts.mail_queue.MailBackend"
    settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture(autouse=True)
def no_heartbeat_without_commits(request: pytest.FixtureRequest, settings: Any) -> None:
    """Keep the thread of a running item from the database, in tests that are rolled back.

    It has a connection of its own, which does not see the test's rows: the item would look as if it was taken away.
    """
    marker = request.node.get_closest_marker("django_db")
    if not (marker and marker.kwargs.get("transaction")) and "transactional_db" not in request.fixturenames:
        settings.HEARTBEAT_SECONDS = 3600


def make_user(email: str) -> User:
    user = User.objects.create_user(email, "correct horse battery")
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    organizations.email_was_verified(user)
    return user


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice@example.com")


@pytest.fixture
def organization(alice: User) -> Organization:
    """Alice's personal organization, with the sign-up credit of development."""
    return Organization.objects.get(memberships__user=alice)


@pytest.fixture
def bob(organization: Organization) -> User:
    """A member of Alice's organization, and of no other."""
    user = User.objects.create_user("bob@example.com", "correct horse battery")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    Membership.objects.create(organization=organization, user=user, role=Role.MEMBER)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """A stranger with an organization of their own."""
    return make_user("charlie@example.com")


@pytest.fixture
def charlies(charlie: User) -> Organization:
    return Organization.objects.get(memberships__user=charlie)


PAGES_OF_ORGANIZATIONS = (
    "/overview/",
    "/keys/",
    "/requests/",
    "/activity/",
    "/organization/",
    "/billing/",
    "/transcripts/",
    "/webhooks/",
    "/playground/",
)
OF_NO_ORGANIZATION = ("/organization/new/", "/organization/deleted/", "/billing/products")


class Visitor(Client):
    """A browser in which somebody is signed in. It opens pages of an organization as the links of a page do.

    `get("/keys/")` asks for `/o/ORGANIZATION_ID/keys/`. home: the id of the organization; None asks as written.
    """

    def __init__(self, user: User, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        self.home = user.memberships.order_by("created_at", "pk").values_list("organization_id", flat=True).first()

    def generic(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        if self.home is not None and path.startswith(PAGES_OF_ORGANIZATIONS) and path not in OF_NO_ORGANIZATION:
            path = f"/o/{self.home}{path}"
        return super().generic(method, path, *args, **kwargs)


@pytest.fixture
def client_of() -> Callable[..., Visitor]:
    """A browser in which the person is signed in, at the pages of their oldest organization."""
    return Visitor


class Api:
    """A program that calls with a key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **fields: Any) -> Any:
        return self.client.get(path, fields, headers={"X-API-Key": self.key})

    def post(
        self, path: str, fields: dict[str, Any] | None = None, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Any:
        return self.client.post(path, fields or {}, headers={"X-API-Key": self.key, **(headers or {})}, **kwargs)

    def transcribe(self, name: str = "sentence-slt.wav", content: bytes | None = None, **fields: Any) -> Any:
        """POST /v1/transcribe with a recording of tests/fixtures/audio, or with these bytes."""
        content = (AUDIO / name).read_bytes() if content is None else content
        return self.post("/v1/transcribe", {"file": SimpleUploadedFile(name, content), **fields})


@pytest.fixture
def api(organization: Organization) -> Api:
    _, key = api_keys.issue(organization, name="test", by=None)
    return Api(key)


@pytest.fixture
def stranger(charlies: Organization) -> Api:
    _, key = api_keys.issue(charlies, name="test", by=None)
    return Api(key)


@pytest.fixture
def stripe_sandbox(db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> StripeSandbox:
    """Stripe and the payer's bank: tests/stripe.py. Its library pauses for a moment only before it tries again."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    settings.STRIPE_SANDBOX_FILE = tmp_path / "stripe.sqlite3"
    return StripeSandbox(settings.STRIPE_SANDBOX_FILE)


@pytest.fixture(scope="module")
def chat_upstream() -> Iterator[ScriptedUpstream]:
    """An LLM provider that does what it is told."""
    with scripted.running() as running:
        yield running


@pytest.fixture
def chat(chat_upstream: ScriptedUpstream, settings: Any) -> ScriptedUpstream:
    """The site with a language model connected: the provider, which has not been asked yet."""
    address = f"{chat_upstream.address}/first"
    settings.APEX_UPSTREAMS = [{"name": "one", "base_url": address, "api_key": "", "model_names": {}}]
    # Breakers live as long as the process.
    upstream._build_upstreams.cache_clear()
    chat_upstream.forget()
    return chat_upstream


@pytest.fixture
def few_completions(settings: Any) -> Iterator[None]:
    """One completion an hour for everybody."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "completions": "1/hour"}
    limits._limit.cache_clear()
    yield
    limits._limit.cache_clear()


@pytest.fixture
def plug_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns a function that registers an engine as "fake": "module:factory"."""
    from transcription import recognition
    from transcription.speech import registry

    def plug(place: str) -> None:
        monkeypatch.setitem(registry.ENGINES, "fake", place)
        monkeypatch.setitem(recognition.ENGINE_LANGUAGES, "fake", frozenset({"en"}))

    return plug


@pytest.fixture
def fake_engine(
    settings: Any, tmp_path_factory: pytest.TempPathFactory, plug_engine: Callable[[str], None]
) -> Iterator["FakeEngine"]:
    """The engine of this test's site, registered as "fake". Workers reach it as always, through the engine's socket."""
    from tests.transcription.speech import fakes
    from transcription.management.commands.engine import make_model_cache

    plug_engine("tests.transcription.speech.fakes:FakeEngine")
    settings.ENGINE = "fake"
    settings.ENGINE_SOCKETS = [f"ipc://{tmp_path_factory.mktemp('f')}/engine.sock"]
    models = make_model_cache("fake", device="cpu")
    with fakes.serving(models, address=settings.ENGINE_SOCKETS[0]):
        yield models.get(models.default)


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The real engine process, on the socket that the settings name."""
    from transcription.speech.engines import remote

    process = subprocess.Popen(
        [sys.executable, "manage.py", "engine"], cwd=settings.BASE_DIR, env={**os.environ, "VOXSITE_ENV": "development"}
    )
    try:
        deadline = time.monotonic() + product.START_SECONDS
        while (remote.health(settings.ENGINE_SOCKET, timeout_seconds=1) or {}).get("state") != "ready":
            assert process.poll() is None, "the engine process ended"
            assert time.monotonic() < deadline, "the engine does not answer"
        yield settings.ENGINE_SOCKET
    finally:
        process.terminate()
        process.wait(timeout=60)
