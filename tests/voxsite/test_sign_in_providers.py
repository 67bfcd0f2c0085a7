"""Providers of sign-in as the environment names them."""

import os

import pytest
from django.core.exceptions import ImproperlyConfigured

from voxsite import sign_in_providers


@pytest.fixture(autouse=True)
def none_is_set(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("VOXSITE_GOOGLE", "VOXSITE_GITHUB")):
            monkeypatch.delenv(name)


def switch_on(monkeypatch, name):
    monkeypatch.setenv(f"VOXSITE_{name}_CLIENT_ID", "id")
    monkeypatch.setenv(f"VOXSITE_{name}_CLIENT_SECRET", "secret")


def test_without_a_client_id_there_is_none(monkeypatch):
    monkeypatch.setenv("VOXSITE_GITHUB_URL", "https://github.example.com")
    assert sign_in_providers.configured() == {}
    assert sign_in_providers.origins({}) == []


@pytest.mark.parametrize("given", ["CLIENT_ID", "CLIENT_SECRET"])
@pytest.mark.parametrize("name", ["GOOGLE", "GITHUB"])
def test_half_of_a_client_is_refused_by_name(monkeypatch, name, given):
    monkeypatch.setenv(f"VOXSITE_{name}_{given}", "x")
    with pytest.raises(ImproperlyConfigured, match=f"VOXSITE_{name}_CLIENT_ID and VOXSITE_{name}_CLIENT_SECRET"):
        sign_in_providers.configured()


def test_each_is_on_by_itself(monkeypatch):
    switch_on(monkeypatch, "GITHUB")
    providers = sign_in_providers.configured()
    assert list(providers) == ["github"]
    assert providers["github"]["APPS"] == [{"client_id": "id", "secret": "secret"}]
    assert sign_in_providers.origins(providers) == ["https://github.com"]
    switch_on(monkeypatch, "GOOGLE")
    both = sign_in_providers.configured()
    assert sign_in_providers.origins(both) == ["https://accounts.google.com", "https://github.com"]


def test_github_may_be_an_enterprise_server(monkeypatch):
    switch_on(monkeypatch, "GITHUB")
    monkeypatch.setenv("VOXSITE_GITHUB_URL", "https://git.example.com:8443/")
    providers = sign_in_providers.configured()
    assert providers["github"]["GITHUB_URL"] == "https://git.example.com:8443"
    assert sign_in_providers.origins(providers) == ["https://git.example.com:8443"]


def test_address_of_an_enterprise_server_fits_into_what_its_accounts_are_found_by(monkeypatch):
    switch_on(monkeypatch, "GITHUB")
    monkeypatch.setenv("VOXSITE_GITHUB_URL", f"https://{'a' * 143}")
    with pytest.raises(ImproperlyConfigured, match="VOXSITE_GITHUB_URL"):
        sign_in_providers.configured()
