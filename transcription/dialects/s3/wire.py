"""The XML and the error codes of Amazon S3's API, as far as signed uploads use them. Pure.

Source: Amazon S3 API Reference, PutObject, UploadPart, CompleteMultipartUpload, AbortMultipartUpload and "Error
responses", read 2026-11-29.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from accounts.error_types import ErrorType
from accounts.errors import VoxsiteError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
CONTENT_TYPE = "application/xml"
# 10,000 parts, with checksums and whitespace.
MAX_XML_BYTES = 4 * 1024**2
# As `recordings.incoming` makes them.
ETAG = re.compile(r"[0-9a-f]{8}-[0-9]{1,12}")


class Fault(Exception):
    """A refusal as S3 writes it. Clients repeat what is 5xx, so only what may pass is."""

    def __init__(self, code: str, http_status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status
        self.message = message


def bad_request(code: str, message: str) -> Fault:
    return Fault(code, HTTPStatus.BAD_REQUEST, message)


def no_such_upload() -> Fault:
    return Fault(
        "NoSuchUpload",
        HTTPStatus.NOT_FOUND,
        "There is no such upload: it may have been completed, given up, or have expired.",
    )


def malformed_xml(message: str) -> Fault:
    return bad_request("MalformedXML", message)


# What the domain refuses, by its type.
_CODES = {
    ErrorType.UPLOAD_SIZE_MISMATCH: "IncompleteBody",
    ErrorType.UPLOAD_ALREADY_RECEIVED: "UploadAlreadyReceived",
    ErrorType.UPLOAD_EXPIRED: "NoSuchUpload",
    ErrorType.FORBIDDEN: "AccessDenied",
    ErrorType.NOT_FOUND: "NoSuchUpload",
}


def fault_of(error: VoxsiteError) -> Fault:
    """Return the fault for an error of the domain."""
    if error.type == ErrorType.UPLOAD_EXPIRED:
        return Fault("NoSuchUpload", HTTPStatus.NOT_FOUND, error.message)
    code = _CODES.get(ErrorType(error.type), "InternalError" if error.http_status >= 500 else "InvalidRequest")
    return Fault(code, HTTPStatus(error.http_status), error.message)


@dataclass(frozen=True, slots=True)
class Checksums:
    """What a client says of the bytes that it sends. None: nothing."""

    md5: bytes | None = None
    crc32: int | None = None


def read_checksums(headers: Mapping[str, str]) -> Checksums:
    """Return the checksums in the headers of a request, whose names are in lower case. Raises Fault."""
    md5 = _digest(headers, "content-md5", size_bytes=16)
    crc32 = _digest(headers, "x-amz-checksum-crc32", size_bytes=4)
    return Checksums(md5, None if crc32 is None else int.from_bytes(crc32))


def read_parts(body: bytes, *, count: int) -> list[str]:
    """Return the ETags of a CompleteMultipartUpload in the order of their parts, without quotes.

    count: how many parts the upload has; all must be listed. Elements of other names, such as checksums, are ignored.
    Raises Fault.
    """
    try:
        root = ElementTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise malformed_xml("The body is not the XML of CompleteMultipartUpload.") from error
    if _name(root) != "CompleteMultipartUpload":
        raise malformed_xml("The root of the body must be CompleteMultipartUpload.")
    etags = []
    for position, part in enumerate((child for child in root if _name(child) == "Part"), start=1):
        fields = {_name(child): (child.text or "").strip() for child in part}
        number = fields.get("PartNumber", "")
        if not re.fullmatch(r"[0-9]{1,6}", number):
            raise malformed_xml(f"Part {position} of the list has no PartNumber.")
        if int(number) > count:
            raise bad_request("InvalidPart", f"There is no part {int(number)}: the upload has {count}.")
        if int(number) != position:
            raise bad_request("InvalidPartOrder", f"Parts must be listed in order, each once, from 1 to {count}.")
        etag = fields.get("ETag", "").strip('"').lower()
        if not ETAG.fullmatch(etag):
            raise bad_request("InvalidPart", f"The ETag of part {position} is none that was answered.")
        etags.append(etag)
    if len(etags) != count:
        raise bad_request("InvalidPart", f"{len(etags)} parts are listed, and the upload has {count}.")
    return etags


def show_completed(*, location: str, key: str, etag: str) -> bytes:
    """Return the XML of an upload in parts that is complete."""
    root = Element("CompleteMultipartUploadResult", xmlns=NAMESPACE)
    for name, text in (("Location", location), ("Bucket", "uploads"), ("Key", key), ("ETag", f'"{etag}"')):
        SubElement(root, name).text = text
    return _document(root)


def show_fault(fault: Fault, *, path: str, request_id: str) -> bytes:
    """Return the XML of a refusal. path: that of the request, without its query, which is a credential."""
    root = Element("Error")
    fields = (("Code", fault.code), ("Message", fault.message), ("Resource", path), ("RequestId", request_id))
    for name, text in fields:
        # XML 1.0 has no control characters, not even escaped ones.
        SubElement(root, name).text = "".join(char for char in text if char.isprintable())
    return _document(root)


def _digest(headers: Mapping[str, str], name: str, *, size_bytes: int) -> bytes | None:
    if name not in headers:
        return None
    try:
        digest = base64.b64decode(headers[name], validate=True)
    except ValueError:
        digest = b""
    if len(digest) != size_bytes:
        raise bad_request("InvalidDigest", f"The header {name} must have {size_bytes} bytes in base64.")
    return digest


def _name(element: Element) -> str:
    """Return the name of an element without a namespace: clients send S3's, or none."""
    return str(element.tag).rpartition("}")[2]


def _document(root: Element) -> bytes:
    written: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return written
