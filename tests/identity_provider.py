"""Google and GitHub at the network's edge: a server that speaks OAuth 2.0 as they document it, for a person it is told.

Google's authorization code flow with OpenID Connect: https://developers.google.com/identity/protocols/oauth2/web-server
and /openid-connect. GitHub's: https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps,
its API: https://docs.github.com/en/rest/users/emails (all read 2026-12-01).
"""

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt

CLIENT_ID = "client-of-voxsite"
CLIENT_SECRET = "secret-of-voxsite"
AUTHORIZE = ("/login/oauth/authorize", "/o/oauth2/v2/auth")
TOKENS = ("/login/oauth/access_token", "/token")


@dataclass
class Account:
    """An account at the provider. addresses: (address, whether the provider has verified it), the primary one first."""

    uid: int = 4711
    login: str = "ann"
    addresses: tuple[tuple[str, bool], ...] = (("ann@example.com", True),)


@dataclass
class Provider:
    """A running provider: who is signed in there, what it was asked, and whether it refuses or fails."""

    address: str = ""
    account: Account = field(default_factory=Account)
    is_broken: bool = False
    asked: list[str] = field(default_factory=list)
    # code -> what it was made for; a code serves once.
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, Account] = field(default_factory=dict)

    def consent(self, query: dict[str, str]) -> str:
        """Return where the browser goes when the person agrees."""
        code = secrets.token_urlsafe(12)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def refuse(self, query: dict[str, str]) -> str:
        """Return where the browser goes when the person does not agree."""
        return f"{query['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Return tokens for a code, None unless the application proves that it asked for the code."""
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        is_ours = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        if asked is None or not is_ours or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        if challenge.rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        token = secrets.token_urlsafe(12)
        self.tokens[token] = self.account
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer", "scope": asked["scope"]}
        if "openid" in asked["scope"].split():
            email, is_verified = self.account.addresses[0]
            claims = {"iss": "https://accounts.google.com", "aud": CLIENT_ID, "sub": str(self.account.uid)}
            claims |= {"email": email, "email_verified": is_verified, "iat": time.time(), "exp": time.time() + 3600}
            answer["id_token"] = jwt.encode(claims, "k" * 32)
        return answer


@contextmanager
def running() -> Iterator[Provider]:
    """Run a provider on a free port."""
    provider = Provider()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"provider": provider}))
    provider.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.asked.append(self.path)
        account = self.provider.tokens.get(self.headers.get("Authorization", "").partition(" ")[2])
        if parts.path in AUTHORIZE:
            self._ask(dict(parse_qsl(parts.query)))
        elif parts.path in ("/consent", "/refuse"):
            query = dict(parse_qsl(parts.query))
            self._send(302, "", "text/plain", Location=getattr(self.provider, parts.path[1:])(query))
        elif parts.path == "/favicon.ico":
            self._send(204, "", "image/x-icon")
        elif account is None:
            self._send_json(401, {"message": "Bad credentials"})
        elif parts.path.endswith("/user"):
            self._send_json(200, {"id": account.uid, "login": account.login, "email": None, "company": "Acme"})
        elif parts.path.endswith("/user/emails"):
            rows = enumerate(account.addresses)
            self._send_json(200, [{"email": e, "verified": v, "primary": at == 0} for at, (e, v) in rows])
        else:
            self._send_json(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.provider.asked.append(self.path)
        answer = None if self.provider.is_broken else self.provider.exchange(form)
        # GitHub answers 200 also when it refuses.
        self._send_json(200, answer or {"error": "bad_verification_code"})

    def _ask(self, query: dict[str, str]) -> None:
        words = html.escape(urlencode(query))
        links = f'<a href="/consent?{words}">Continue</a> <a href="/refuse?{words}">Cancel</a>'
        self._send(200, f"<!doctype html><title>Sign in</title><h1>Authorize Voxsite</h1>{links}", "text/html")

    def _send_json(self, status: int, answer: Any) -> None:
        self._send(status, json.dumps(answer), "application/json")

    def _send(self, status: int, text: str, kind: str, **headers: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Keep quiet."""
