"""The list of parts as clients of S3 write it, hostile ones, and what they are answered."""

from xml.etree.ElementTree import fromstring

import pytest

from accounts.error_types import ErrorType
from accounts.errors import BadRequest, Conflict, Forbidden, NotFound, VoxsiteError
from transcription.dialects.s3 import wire

ONE, TWO = "aaaaaaaa-5242880", "01234567-1"


def part(number, etag=ONE):
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"


def document(*parts, root="CompleteMultipartUpload", attributes=""):
    return f"<{root}{attributes}>{''.join(parts)}</{root}>".encode()


def refused(body, *, count=1):
    with pytest.raises(wire.Fault) as caught:
        wire.read_parts(body, count=count)
    assert 400 <= caught.value.http_status < 500
    return caught.value.code


@pytest.mark.parametrize(
    "body",
    [
        # The vendor's SDK of TranscribeAPI (PyPI transcribe-api 0.1.10), then boto3 1.44, then botocore with checksums.
        document(part(1, f'"{ONE}"'), part(2, f'"{TWO}"')),
        document(
            f"<Part><ETag>&quot;{ONE}&quot;</ETag><PartNumber>1</PartNumber></Part>",
            f"<Part><ETag>{TWO}</ETag><ChecksumCRC32>AAAA</ChecksumCRC32><PartNumber> 2 </PartNumber></Part>",
            attributes=' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"',
        ),
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + document(part(1, ONE.upper()), part("02", TWO)),
    ],
)
def test_lists_of_clients_are_read(body):
    assert wire.read_parts(body, count=2) == [ONE, TWO]


def test_ten_thousand_parts_fit():
    body = document(*(part(number, f"&quot;{ONE}&quot;") for number in range(1, 10_001)))
    assert len(body) < wire.MAX_XML_BYTES / 3
    assert len(wire.read_parts(body, count=10_000)) == 10_000


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<CompleteMultipartUpload>",
        BOMB + document(part(1, "&b;")),
        OUTSIDE + document(part(1, "&a;")),
        b"<!DOCTYPE x>" + document(part(1)),
        b'<!DOCTYPE x SYSTEM "http://169.254.169.254/">' + document(part(1)),
        document(part(1), root="Delete"),
        document(part("")),
        document(part("one")),
        document(part("-1")),
        document(part("1" * 400)),
        document(part("\u0661")),
        document("<Part/>"),
        b'<?xml version="1.0" encoding="nonsense"?>' + document(part(1)),
        b'<?xml version="1.0" encoding="utf-7"?>' + document(part(1)),
        document(part(1)).decode().encode("utf-16")[:-3],
        b"\xff\xfe\xfd",
        b"<a>" * 50_000,
        document("&#0;"),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_list_of_parts_is_malformed(body):
    assert refused(body) == "MalformedXML"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "InvalidPart"),
        ([part(1)], "InvalidPart"),
        ([part(1), part(2), part(3)], "InvalidPart"),
        ([part(2), part(1)], "InvalidPartOrder"),
        ([part(1), part(1)], "InvalidPartOrder"),
        ([part(0), part(1)], "InvalidPartOrder"),
        ([part(1), part(2, "")], "InvalidPart"),
        ([part(1), part(2, "x" * 8 + "-1")], "InvalidPart"),
        ([part(1), part(2, f"{ONE}-2")], "InvalidPart"),
        ([part(1), "<Part><PartNumber>2</PartNumber></Part>"], "InvalidPart"),
    ],
)
def test_every_part_must_be_listed_once_in_order(parts, code):
    assert refused(document(*parts), count=2) == code


def test_answer_is_what_clients_of_s3_read():
    shown = wire.show_completed(location="https://example.com/uploads/1", key="1", etag=f"{ONE}-2")
    root = fromstring(shown)
    space = f"{{{wire.NAMESPACE}}}"
    assert root.tag == f"{space}CompleteMultipartUploadResult"
    assert root.findtext(f"{space}ETag") == f'"{ONE}-2"'
    assert root.findtext(f"{space}Key") == "1"


@pytest.mark.parametrize("path", ["/uploads/<script>&\"'", "/uploads/\x00\x1b\ud800", "/uploads/ü"])
def test_fault_is_xml_whatever_the_path_is(path):
    fault = wire.bad_request("InvalidPart", 'The part "<1>" & others.')
    root = fromstring(wire.show_fault(fault, path=path, request_id="req_1"))
    assert root.findtext("Code") == "InvalidPart"
    assert root.findtext("Message") == 'The part "<1>" & others.'
    assert root.findtext("RequestId") == "req_1"


@pytest.mark.parametrize(
    ("error", "code", "http_status"),
    [
        (Conflict("late", error_type="upload_expired"), "NoSuchUpload", 404),
        (Conflict("twice", error_type="upload_already_received"), "UploadAlreadyReceived", 409),
        (BadRequest("size", error_type="upload_size_mismatch"), "IncompleteBody", 400),
        (Forbidden(), "AccessDenied", 403),
        (NotFound(), "NoSuchUpload", 404),
    ],
)
def test_errors_of_the_domain_have_codes(error, code, http_status):
    fault = wire.fault_of(error)
    assert (fault.code, fault.http_status, fault.message) == (code, http_status, error.message)


@pytest.mark.long
@pytest.mark.parametrize("error_type", list(ErrorType))
def test_every_type_of_error_has_a_code(error_type):
    assert wire.fault_of(VoxsiteError(error_type=error_type)).code
