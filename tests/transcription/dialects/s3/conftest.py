"""Each test has a media folder and a folder for incoming bytes of its own."""

import pytest

from tests.transcription.dialects.s3.sending import SITE


@pytest.fixture(autouse=True)
def own_folders(settings, tmp_path):
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media"), "allow_overwrite": True},
        },
    }
    settings.INCOMING_DIR = tmp_path / "incoming"
    settings.SITE_URL = SITE
