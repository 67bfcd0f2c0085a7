"""The content security policy lets pages send files to the bucket, where its presigned addresses are."""

from urllib.parse import urlsplit

import pytest

from tests import object_storage
from voxsite import bucket_origin
from voxsite.storage import RangedS3Storage


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("bucket", ["recordings", "rec.ordings"])
@pytest.mark.parametrize("region", ["", "us-east-1", "eu-central-1"])
@pytest.mark.parametrize(
    "endpoint_url",
    [
        "",
        "https://files.example.com",
        "https://files.example.com:9000",
        "http://127.0.0.1:9000",
        "https://a.example/b/",
    ],
)
def test_origin_is_that_of_the_addresses_that_are_signed(bucket, region, endpoint_url):
    options = object_storage.options(endpoint_url or None, bucket_name=bucket, region_name=region or None)
    url = RangedS3Storage(**options).put_url("incoming/1/one", seconds=3600, size_bytes=5, content_type="audio/wav")
    parts = urlsplit(url)
    origin = bucket_origin.origin_of(bucket, endpoint_url=endpoint_url, region=region)
    assert origin == f"{parts.scheme}://{parts.netloc}"


def test_without_a_bucket_there_is_none():
    assert bucket_origin.origin_of("", endpoint_url="https://files.example.com", region="") == ""


def test_own_endpoint_serves_unless_customers_have_another_one():
    options = object_storage.options("http://10.0.0.1:9000", public_endpoint_url="https://files.example.com")
    url = RangedS3Storage(**options).abort_url("incoming/1/one", seconds=3600, multipart_id="one")
    assert url.startswith("https://files.example.com/")
