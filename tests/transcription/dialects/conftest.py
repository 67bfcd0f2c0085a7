"""A site with one small dialect that waits, and a key for it."""

import pytest

from accounts import api_keys


@pytest.fixture
def waiting_site(settings):
    settings.ROOT_URLCONF = "tests.transcription.dialects.waiting_site"


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]
