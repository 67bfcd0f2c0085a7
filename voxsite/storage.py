"""S3 storage that can read a part of an object, and signs addresses to which customers send objects themselves."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name


class RangedS3Storage(S3Storage):
    """django-storages' S3, with range requests and presigned uploads (`recordings.upload_targets.SigningStorage`).

    Its own file object fetches the whole object on the first read.
    Rejected: redirecting the browser to a presigned URL to play audio. The content security policy would have to allow
    another host for it.
    """

    # Where customers reach the bucket, if S3_ENDPOINT_URL is an address that only our own network can reach.
    public_endpoint_url: str | None = None

    def get_default_settings(self) -> dict[str, Any]:
        return {**super().get_default_settings(), "public_endpoint_url": None}

    def put_url(self, name: str, *, seconds: int, size_bytes: int | None, content_type: str) -> str:
        """Return an address for a PUT of a whole object of this size and type."""
        fixed: dict[str, Any] = {} if size_bytes is None else {"ContentLength": size_bytes}
        if content_type:
            fixed["ContentType"] = content_type
        return self._presigned("put_object", name, seconds=seconds, **fixed)

    def begin_multipart(self, name: str, *, content_type: str) -> str:
        """Begin an upload in parts, and return its number."""
        client, place = self._client_and_place(name)
        fixed = {"ContentType": content_type} if content_type else {}
        return str(client.create_multipart_upload(**place, **fixed)["UploadId"])

    def has_multipart(self, name: str, *, multipart_id: str) -> bool:
        """Tell whether an upload in parts can go on."""
        client, place = self._client_and_place(name)
        try:
            client.list_parts(**place, UploadId=multipart_id, MaxParts=1)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def has_parts(self, name: str, *, multipart_id: str) -> bool:
        """Tell whether a part of an upload in parts has come."""
        client, place = self._client_and_place(name)
        try:
            listed = client.list_parts(**place, UploadId=multipart_id, MaxParts=1)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return bool(listed.get("Parts"))

    def abort_multipart(self, name: str, *, multipart_id: str) -> None:
        """Give up an upload in parts. Nothing happens if it was completed or given up before."""
        client, place = self._client_and_place(name)
        try:
            client.abort_multipart_upload(**place, UploadId=multipart_id)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise

    def part_url(self, name: str, *, seconds: int, multipart_id: str, number: int, size_bytes: int) -> str:
        """Return an address for a PUT of one part of this size."""
        part = {"UploadId": multipart_id, "PartNumber": number, "ContentLength": size_bytes}
        return self._presigned("upload_part", name, seconds=seconds, **part)

    def complete_url(self, name: str, *, seconds: int, multipart_id: str) -> str:
        """Return an address for a POST of the list of parts."""
        return self._presigned("complete_multipart_upload", name, seconds=seconds, UploadId=multipart_id)

    def abort_url(self, name: str, *, seconds: int, multipart_id: str) -> str:
        """Return an address for a DELETE that gives the parts up."""
        return self._presigned("abort_multipart_upload", name, seconds=seconds, UploadId=multipart_id)

    def copy(self, name: str, *, new_name: str) -> None:
        """Copy an object inside of the bucket, of any size. Raises FileNotFoundError."""
        client, place = self._client_and_place(name)
        _, new_place = self._client_and_place(new_name)
        try:
            client.copy(place, new_place["Bucket"], new_place["Key"])
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise FileNotFoundError(name) from error
            raise

    def delete_many(self, names: Sequence[str]) -> None:
        """Delete up to 1,000 objects by one request. Those that are not there are none too many."""
        if not names:
            return
        client, place = self._client_and_place(names[0])
        objects = [{"Key": self._client_and_place(name)[1]["Key"]} for name in names]
        answer = client.delete_objects(Bucket=place["Bucket"], Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            raise OSError(f"{len(errors)} of {len(names)} objects were not deleted: {errors[0].get('Code')}")

    def read_range(self, name: str, *, first_byte: int, count: int) -> bytes:
        """Return `count` bytes from `first_byte` on, or fewer at the end of the object. Raises FileNotFoundError."""
        key = self._normalize_name(clean_name(name))
        try:
            answer: dict[str, Any] = self.bucket.Object(key).get(Range=f"bytes={first_byte}-{first_byte + count - 1}")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 416:  # beyond the end
                return b""
            if status == 404:
                raise FileNotFoundError(name) from error
            raise
        part: bytes = answer["Body"].read()
        return part

    def sizes_below(self, prefix: str) -> dict[str, int]:
        """Return the sizes in bytes of the objects whose names begin so, by their names: a request for each 1,000."""
        client, place = self._client_and_place(prefix)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place["Bucket"], Prefix=f"{place['Key']}/")
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}

    @cached_property
    def _signer(self) -> Any:
        """A client that only signs, which needs no network. Threads may share it."""
        endpoint_url = self.public_endpoint_url or self.endpoint_url
        # By default boto3 signs for Amazon's global name, which redirects to other regions, and no PUT follows that.
        is_amazons = not endpoint_url and "." not in self.bucket_name
        return boto3.client(
            "s3",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region_name,
            endpoint_url=endpoint_url,
            config=Config(
                # Version 2, which boto3 still takes for presigned addresses, signs neither size nor type.
                signature_version="s3v4",
                s3={"addressing_style": self.addressing_style or ("virtual" if is_amazons else None)},
                # Otherwise boto3 signs a checksum of an empty body into each address.
                request_checksum_calculation="when_required",
            ),
        )

    def _presigned(self, operation: str, name: str, *, seconds: int, **parameters: Any) -> str:
        _, place = self._client_and_place(name)
        signed = self._signer.generate_presigned_url(operation, Params={**place, **parameters}, ExpiresIn=seconds)
        return str(signed)

    def _client_and_place(self, name: str) -> tuple[Any, dict[str, str]]:
        return self.connection.meta.client, {"Bucket": self.bucket_name, "Key": self._normalize_name(clean_name(name))}
