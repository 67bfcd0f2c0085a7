"""What .dockerignore lets into the production image, and that the product starts with no more than that."""

import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def is_in_image(path: str) -> bool:
    """Tell whether Docker copies a file: of all rules that fit it or a folder above it, the last one decides.

    Source: Docker's reference of .dockerignore files, read 2026-11-28.
    """
    candidates = [path, *(str(folder) for folder in Path(path).parents if str(folder) != ".")]
    is_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!")
        if any(fnmatch(candidate, pattern) or fnmatch(f"/{candidate}", f"/{pattern}") for candidate in candidates):
            is_in = rule.startswith("!")
    return is_in


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_sandbox_tests_and_secrets_stay_out():
    inside = [path for path in tracked() if is_in_image(path)]
    assert "manage.py" in inside
    assert "billing/stripe_api.py" in inside
    outsiders = ("billing/sandbox/", "templates/sandbox/", "tests/", "script/", "docs/", ".github/", "findings/")
    assert [path for path in inside if path.startswith(outsiders)] == []


@pytest.mark.long
def test_product_starts_from_what_is_in_the_image(tmp_path):
    for path in filter(is_in_image, tracked()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    assert not (tmp_path / "billing/sandbox").exists()
    environment = {
        "PATH": os.environ["PATH"],
        "VOXSITE_ENV": "production",
        "SECRET_KEY": "x" * 50,
        "VOXSITE_HOSTS": "voxsite.example",
        "VOXSITE_ENGINE": "pocketsphinx",
        "SMTP_HOST": "localhost",
        "DATABASE_URL": "postgresql://postgres@localhost/none",
        "REDIS_URL": "redis://localhost",
        "VOXSITE_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "ERROR"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_container_has_more_rights_than_it_needs():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services.values())
    writable = [name for name, service in services.items() if not service.get("read_only")]
    assert writable == ["postgres"]
