"""Where browsers send files when a bucket is configured. Pure: the settings use it before Django is set up."""

from urllib.parse import urlsplit


def origin_of(bucket: str, *, endpoint_url: str, region: str) -> str:
    """Return the origin (scheme, host and port) of the presigned addresses of a bucket, "" without a bucket.

    endpoint_url: as customers reach it, "" for Amazon's own. region: "" for boto3's default.
    `tests/voxsite/test_bucket_origin.py` compares it with what boto3 signs.
    """
    if not bucket:
        return ""
    if endpoint_url:
        parts = urlsplit(endpoint_url)
        return f"{parts.scheme}://{parts.netloc}"
    place = "s3" if region in {"", "us-east-1"} else f"s3.{region}"
    # No certificate fits a name with dots in front of that of Amazon.
    return f"https://{place}.amazonaws.com" if "." in bucket else f"https://{bucket}.{place}.amazonaws.com"
