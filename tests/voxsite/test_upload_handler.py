"""Files of forms have names of any kind."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts import api_keys
from tests.conftest import AUDIO
from transcription.models import Media


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["call." + "x" * 240, "call." + "ä" * 240, "c" * 300 + ".wav", "." + "x" * 300])
@pytest.mark.parametrize("is_large", [True, False])
def test_long_name_does_no_harm(client, organization, settings, name, is_large):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0 if is_large else 1024**2
    key = api_keys.issue(organization, name="test", by=None)[1]
    upload = SimpleUploadedFile("a", (AUDIO / "sentence-slt.wav").read_bytes())
    upload.name = name
    response = client.post("/v1/transcribe", {"file": upload}, headers={"X-API-Key": key})
    assert response.status_code == 201, response.content
    assert Media.objects.get().name[:4] == name.strip(".")[:4]
