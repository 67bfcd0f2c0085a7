"""A real server that speaks S3's protocol, moto's, with an empty bucket, and the settings of a site that uses it.

What it cannot prove: it does not check signatures, so neither an expired nor a changed address is refused, nor a body
of another size than the signed one. It answers 500 where S3 answers NoSuchUpload to a list of parts, and it forgets all
when it ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "recordings"
KEYS = {"access_key": "an-id", "secret_key": "a-secret"}


@contextmanager
def serving() -> Iterator[str]:
    """Serve, and give the address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def client(address: str) -> Any:
    """Return an S3 client for the server."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        region_name="us-east-1",
    )


def empty(address: str) -> None:
    """Leave one empty bucket."""
    s3 = client(address)
    if BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
        return
    s3.create_bucket(Bucket=BUCKET)


def options(address: str, **others: Any) -> dict[str, Any]:
    """Return the options of `RangedS3Storage`, as settings.STORAGES has them."""
    return {
        "bucket_name": BUCKET,
        "endpoint_url": address,
        "region_name": "us-east-1",
        "signature_version": "s3v4",
        "default_acl": "private",
        "file_overwrite": True,
        **KEYS,
        **others,
    }
