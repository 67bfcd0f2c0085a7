"""Whose accounts people may sign in with: Google's and GitHub's, each if the environment names its client."""

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from voxsite import env

GOOGLE_ORIGIN = "https://accounts.google.com"
GITHUB = "https://github.com"
# It is a part of what accounts there are found by, which has 191 characters (allauth).
MAX_GITHUB_URL_LENGTH = 150


def configured() -> dict[str, dict[str, Any]]:
    """Return allauth's SOCIALACCOUNT_PROVIDERS: of each provider that is on, its application and what is asked for."""
    providers: dict[str, dict[str, Any]] = {}
    if client := _client(env.text("VOXSITE_GOOGLE_CLIENT_ID"), env.text("VOXSITE_GOOGLE_CLIENT_SECRET"), of="GOOGLE"):
        # No name and no picture: nothing here needs them. Google shows a page of its own before it redirects further,
        # so that a single sign-on of a company is not one of the redirects that `form-action` is asked about.
        providers["google"] = {
            "APPS": [client],
            "SCOPE": ["openid", "email"],
            "AUTH_PARAMS": {"prompt": "select_account"},
            "OAUTH_PKCE_ENABLED": True,
        }
    if client := _client(env.text("VOXSITE_GITHUB_CLIENT_ID"), env.text("VOXSITE_GITHUB_CLIENT_SECRET"), of="GITHUB"):
        providers["github"] = {"APPS": [client], "SCOPE": ["user:email"], "OAUTH_PKCE_ENABLED": True}
        # A GitHub Enterprise server has its API at another place than github.com, and allauth knows it by this setting.
        if (url := _github_url()) != GITHUB:
            if len(url) > MAX_GITHUB_URL_LENGTH:
                raise ImproperlyConfigured(f"VOXSITE_GITHUB_URL has more than {MAX_GITHUB_URL_LENGTH} characters.")
            providers["github"]["GITHUB_URL"] = url
    return providers


def origins(providers: dict[str, dict[str, Any]]) -> list[str]:
    """Return the origins to which the forms of sign-in lead."""
    found = {"google": GOOGLE_ORIGIN, "github": _origin(_github_url())}
    return [found[name] for name in providers]


def _client(client_id: str, secret: str, *, of: str) -> dict[str, str] | None:
    if bool(client_id) != bool(secret):
        raise ImproperlyConfigured(f"Set both VOXSITE_{of}_CLIENT_ID and VOXSITE_{of}_CLIENT_SECRET, or neither.")
    return {"client_id": client_id, "secret": secret} if client_id else None


def _github_url() -> str:
    return env.text("VOXSITE_GITHUB_URL", default=GITHUB).rstrip("/")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
