"""What production refuses to start with."""

import importlib.util
import subprocess
import sys

import pytest
from django.conf import settings
from django.urls import Resolver404, resolve

WHOLE = {"VOXSITE_ENV": "production", "SECRET_KEY": "k" * 32, "VOXSITE_HOSTS": "voxsite.example,www.voxsite.example"}


def start(folder, *, told="SITE_URL", **changed):
    """Read the settings in a process of their own; return its last line: this setting, or the complaint."""
    environment = {**WHOLE, "VOXSITE_DATA_DIR": str(folder), **changed}
    result = subprocess.run(
        [sys.executable, "-c", f"from voxsite import settings; print(settings.{told})"],
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


@pytest.mark.long
@pytest.mark.parametrize("hosts", ["*", ".voxsite.example", "*,voxsite.example"])
def test_wildcard_is_no_address_for_mails(tmp_path, hosts):
    complaint = start(tmp_path, VOXSITE_HOSTS=hosts)
    assert "ImproperlyConfigured: Set VOXSITE_URL" in complaint


def test_short_secret_is_refused(tmp_path):
    complaint = start(tmp_path, SECRET_KEY="k" * 31)
    assert "ImproperlyConfigured: SECRET_KEY" in complaint
    assert "k" * 31 not in complaint


@pytest.mark.long
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
    assert start(tmp_path, told="STRIPE_SANDBOX", **changed) == str(is_on)


@pytest.mark.parametrize("path", ["/dev/stripe/", "/dev/stripe/pay/cs_1/"])
@pytest.mark.parametrize("is_on", [True, False])
def test_address_of_the_payment_sandbox_exists_with_it_only(settings, path, is_on):
    settings.STRIPE_SANDBOX = is_on
    # A copy: the addresses of the other tests stay as they are.
    found = importlib.util.find_spec("voxsite.urls")
    urls = importlib.util.module_from_spec(found)
    found.loader.exec_module(urls)
    if is_on:
        assert resolve(path, urlconf=urls).func.__module__ == "billing.sandbox.pages"
    else:
        with pytest.raises(Resolver404):
            resolve(path, urlconf=urls)


@pytest.mark.long
def test_pages_may_send_files_to_the_bucket_and_nowhere_else(tmp_path):
    bucket = {"S3_BUCKET": "recordings", "S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret"}
    told = 'CONTENT_SECURITY_POLICY["DIRECTIVES"]["connect-src"]'
    own = """["'self'"]"""
    assert start(tmp_path, told=told) == own
    assert start(tmp_path, told=told, S3_PUBLIC_ENDPOINT_URL="https://files.example.com") == own
    inside = {"S3_ENDPOINT_URL": "http://10.0.0.1:9000", **bucket}
    assert start(tmp_path, told=told, **inside) == """["'self'", 'http://10.0.0.1:9000']"""
    outside = {"S3_PUBLIC_ENDPOINT_URL": "https://files.example.com/", **inside}
    assert start(tmp_path, told=told, **outside) == """["'self'", 'https://files.example.com']"""


@pytest.mark.long
def test_earlier_secret_keys_still_check_what_they_signed(tmp_path):
    assert start(tmp_path, told="SECRET_KEY_FALLBACKS") == "[]"
    assert start(tmp_path, told="SECRET_KEY_FALLBACKS", SECRET_KEY_FALLBACKS="a,b") == "['a', 'b']"


@pytest.mark.long
@pytest.mark.parametrize(("changed", "told"), [({}, "False"), ({"VOXSITE_DATABASE_PREPARES": "off"}, "True")])
def test_pooler_of_transactions_gets_nothing_that_outlasts_one(tmp_path, changed, told):
    url = {"DATABASE_URL": "postgresql://postgres@127.0.0.1:5432/voxsite"}
    assert start(tmp_path, told="DATABASES['default']['DISABLE_SERVER_SIDE_CURSORS']", **url, **changed) == told
    threshold = start(tmp_path, told="DATABASES['default']['OPTIONS']['prepare_threshold']", **url, **changed)
    assert threshold == ("None" if changed else "0")


def test_unknown_host_logs_a_line_and_no_traceback(client, caplog):
    assert client.get("/", headers={"Host": "attacker.example"}).status_code == 400
    [record] = [one for one in caplog.records if one.name == "django.security.DisallowedHost"]
    assert "attacker.example" in record.getMessage()
    assert record.exc_info is None
