import pytest


@pytest.fixture
def own_storage(tmp_path, settings):
    """Storage of this test alone, in the folder `media` of `tmp_path`. Uploads are spooled beside it."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media"), "allow_overwrite": True},
        },
    }
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
