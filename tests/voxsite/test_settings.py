"""What production refuses to start with."""

import subprocess
import sys

import pytest
from django.conf import settings

WHOLE = {"VOXSITE_ENV": "production", "SECRET_KEY": "k" * 32, "VOXSITE_HOSTS": "voxsite.example,www.voxsite.example"}


def start(folder, **changed):
    """Read the settings in a process of their own; return its last line: SITE_URL, or the complaint."""
    environment = {**WHOLE, "VOXSITE_DATA_DIR": str(folder), **changed}
    result = subprocess.run(
        [sys.executable, "-c", "from voxsite import settings; print(settings.SITE_URL)"],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return (result.stdout or result.stderr).strip().splitlines()[-1]


def test_site_is_at_the_first_host_or_where_it_is_told(tmp_path):
    assert start(tmp_path) == "https://voxsite.example"
    assert start(tmp_path, VOXSITE_HOSTS="*", VOXSITE_URL="https://voxsite.example/") == "https://voxsite.example"


@pytest.mark.parametrize("hosts", ["*", ".voxsite.example", "*,voxsite.example"])
def test_wildcard_is_no_address_for_mails(tmp_path, hosts):
    complaint = start(tmp_path, VOXSITE_HOSTS=hosts)
    assert "ImproperlyConfigured: Set VOXSITE_URL" in complaint


def test_short_secret_is_refused(tmp_path):
    complaint = start(tmp_path, SECRET_KEY="k" * 31)
    assert "ImproperlyConfigured: SECRET_KEY" in complaint
    assert "k" * 31 not in complaint


SANDBOX = """
import django
django.setup()
from django.conf import settings
from django.urls import Resolver404, resolve
def routed(path):
    try:
        return bool(resolve(path))
    except Resolver404:
        return False
print(settings.STRIPE_SANDBOX, any(routed(path) for path in ("/dev/stripe/", "/dev/stripe/pay/cs_1/")))
"""


@pytest.mark.parametrize(
    ("changed", "is_on"),
    [
        ({"VOXSITE_ENV": "development"}, True),
        ({"VOXSITE_ENV": "development", "STRIPE_SECRET_KEY": "sk_test_1"}, False),
        ({}, False),
        ({"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}, False),
    ],
)
def test_payment_sandbox_exists_in_development_without_a_key_only(tmp_path, changed, is_on):
    environment = {**WHOLE, "VOXSITE_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "voxsite.settings"}
    environment |= {"DATABASE_URL": "postgresql://localhost/none", "REDIS_URL": "redis://localhost", **changed}
    told = subprocess.run(
        [sys.executable, "-c", SANDBOX],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [str(is_on), str(is_on)]
