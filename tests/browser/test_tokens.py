"""A customer's page, on a server of its own, that transcribes, uploads and chats with a token in a real Chromium."""

import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from playwright.sync_api import Browser, Error, Page

from tests.conftest import AUDIO, text_of

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]
SENTENCE = "sentence-slt.wav"
ENCODED = base64.b64encode((AUDIO / SENTENCE).read_bytes()).decode()
FILE = f"""
const bytes = Uint8Array.from(atob("{ENCODED}"), (letter) => letter.charCodeAt(0));
const file = new File([bytes], "visitor.wav", {{ type: "audio/wav" }});
"""


class CustomerPage(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><link rel=icon href=data:,><title>A customer</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def customer() -> Iterator[str]:
    """The address of a customer's web server: another origin than the site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), CustomerPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def key(person: Page, site: str) -> str:
    person.goto(f"{site}/keys/")
    person.get_by_label("Name").first.fill("server")
    person.get_by_role("button", name="Create key").click()
    return person.get_by_label("New API key").input_value()


@pytest.fixture
def page(open_window, customer: str) -> Page:
    """A visitor on the customer's page."""
    window = open_window()
    window.goto(customer)
    return window


@pytest.fixture
def refused_page(chromium: Browser, customer: str) -> Iterator[Page]:
    """The same. Chromium writes what is refused to its console, which is no fault here."""
    context = chromium.new_context()
    window = context.new_page()
    window.goto(customer)
    yield window
    context.close()


def token_by(key: str, site: str, **fields: object) -> str:
    facts = {"scopes": ["transcribe", "chat"], "spend_limit_micros": 100_000, **fields}
    made = requests.post(f"{site}/v1/tokens", json=facts, headers={"X-API-Key": key}, timeout=10)
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def test_example_of_the_docs_transcribes_on_a_customers_page(site, key, example, page):
    words = page.evaluate(
        f"async (token) => {{ {FILE} {example}\n return transcribe(file, token); }}", token_by(key, site)
    )
    assert words.strip().lower() == f"speaker 1: {text_of(SENTENCE)}".lower()
    spent = requests.get(f"{site}/v1/tokens", headers={"X-API-Key": key}, timeout=10).json()["tokens"][0]
    assert spent["spent_micros"] > 0


@pytest.fixture
def example(person, site: str, key: str) -> str:
    """The code of the docs."""
    person.goto(f"{site}/docs/keys/")
    return str(person.get_by_label("In the page: use the token").inner_text())


def test_example_of_the_docs_waits_when_the_site_is_asked_too_often(site, key, example, refused_page):
    headers = {"access-control-allow-origin": "*", "access-control-expose-headers": "*", "retry-after": "1"}
    refused_page.route(
        "**/result.txt", lambda route: route.fulfill(status=429, headers=headers, body="too many"), times=1
    )
    words = refused_page.evaluate(
        f"async (token) => {{ {FILE} {example}\n return transcribe(file, token); }}", token_by(key, site)
    )
    assert text_of(SENTENCE).lower() in words.lower()


def test_page_sees_why_it_is_refused(site, key, refused_page):
    ask = f"""async (token) => {{ {FILE}
        const body = new FormData();
        body.append("file", file, file.name);
        const headers = {{ "X-API-Key": token }};
        const response = await fetch("{site}/v1/transcribe", {{ method: "POST", headers, body }});
        return [response.status, (await response.json()).error.type, response.headers.get("x-request-id") !== null];
    }}"""
    ask_with = partial(refused_page.evaluate, ask)
    assert ask_with(token_by(key, site, spend_limit_micros=1)) == [402, "spend_limit_reached", True]
    assert ask_with(token_by(key, site, scopes=["chat"])) == [403, "insufficient_scope", True]
    assert ask_with("vxp_temp_nonsense") == [401, "invalid_api_key", True]


def test_page_reads_a_stream_of_the_chat(site, key, page):
    answer = page.evaluate(
        f"""async (token) => {{
            const response = await fetch("{site}/v1/apex/chat/completions", {{
                method: "POST",
                headers: {{ Authorization: `Bearer ${{token}}`, "Content-Type": "application/json" }},
                body: JSON.stringify({{
                    model: "apex-latest", stream: true, messages: [{{ role: "user", content: "normal 3" }}],
                }}),
            }});
            return response.text();
        }}""",
        token_by(key, site),
    )
    assert "word2" in answer
    assert answer.rstrip().endswith("data: [DONE]")


def test_page_sends_a_large_file_to_a_signed_address(site, key, page):
    """The one that TranscribeAPI's dialect gives; it sends no key there."""
    status, etag = page.evaluate(
        f"""async (token) => {{ {FILE}
            const headers = {{ Authorization: `Bearer ${{token}}`, "Content-Type": "application/json" }};
            const body = JSON.stringify({{ files: [{{ reference_id: "one", size_bytes: file.size }}] }});
            let response = await fetch("{site}/transcribeapi/v1/transcribe", {{ method: "POST", headers, body }});
            const told = await response.json();
            if (!response.ok) throw new Error(JSON.stringify(told));
            const target = told.upload;
            response = await fetch(target.url, {{ method: "PUT", headers: target.headers, body: file }});
            return [response.status, response.headers.get("etag")];
        }}""",
        token_by(key, site),
    )
    assert status == 200
    assert etag


def test_page_reaches_nothing_that_belongs_on_a_server(site, key, refused_page):
    """Not even with a key, which must not be there. And a visitor who is signed in lends the page nothing."""
    for path in ("/v1/tokens", "/v1/keys", "/v1/balance", "/overview/"):
        with pytest.raises(Error, match="Failed to fetch"):
            refused_page.evaluate(
                f"(key) => fetch('{site}{path}', {{ headers: {{ 'X-API-Key': key }} }}).then(() => 1)", key
            )
    with pytest.raises(Error, match="Failed to fetch"):
        refused_page.evaluate(f"() => fetch('{site}/v1/jobs', {{ credentials: 'include' }}).then(() => 1)")
