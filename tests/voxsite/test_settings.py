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
