"""A signed address serves what was signed, until it expires, and nothing else."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.recordings import signing
from transcription.recordings.signing import AddressExpired, BadSignature

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PATH = "/uploads/4f9a/parts/3"


def split(address):
    path, _, query = address.partition("?")
    return path, query


def signed(path=PATH, **changes):
    fields = {"method": "PUT", "size_bytes": 5, "content_type": "audio/wav", "fields": {"uploadId": "abc"}} | changes
    return split(signing.signed_path(path, expires_at=NOW + timedelta(hours=1), **fields))


def check(path, query, *, method="PUT", now=NOW):
    return signing.check(path, query=query, method=method, now=now)


def changed(query, **parameters):
    """Return the query with other values; None takes a parameter away."""
    values = dict(parse_qsl(query)) | parameters
    return urlencode({name: value for name, value in values.items() if value is not None})


def test_signed_address_says_what_was_signed():
    found = check(*signed())
    assert (found.size_bytes, found.content_type, dict(found.fields)) == (5, "audio/wav", {"uploadId": "abc"})
    assert found.expires_at == NOW + timedelta(hours=1)


def test_address_without_size_and_type_says_so():
    found = check(*signed(size_bytes=None, content_type="", fields={}))
    assert (found.size_bytes, found.content_type, dict(found.fields)) == (None, "", {})


@pytest.mark.parametrize(
    "tampering",
    [
        {"size": "6"},
        {"size": None},
        {"size": "-5"},
        {"size": "5 "},
        {"size": "\u0665"},
        {"type": "text/html"},
        {"type": None},
        {"type": ""},
        {"expires": str(int((NOW + timedelta(days=365)).timestamp()))},
        {"expires": None},
        {"expires": "nan"},
        {"expires": "9" * 400},
        {"uploadId": "abd"},
        {"uploadId": None},
        {"another": "parameter"},
        {"signature": ""},
        {"signature": None},
        {"signature": "0" * 64},
        {"signature": "ü"},
        {"signature": "\ud800".encode("utf-8", "surrogatepass")},
    ],
    ids=str,
)
def test_changed_parameter_is_refused(tampering):
    path, query = signed()
    with pytest.raises(BadSignature):
        check(path, changed(query, **tampering))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "put", "PUT\n", ""])
def test_other_method_is_refused(method):
    with pytest.raises(BadSignature):
        check(*signed(), method=method)


@pytest.mark.parametrize(
    "path", ["/uploads/4f9a/parts/4", "/uploads/4f9b/parts/3", "/uploads/4f9a", f"{PATH}/", f"/{PATH}", ""]
)
def test_other_path_is_refused(path):
    with pytest.raises(BadSignature):
        check(path, signed()[1])


def test_signature_of_another_upload_is_refused():
    _, others = signed("/uploads/aaaa")
    with pytest.raises(BadSignature):
        check("/uploads/bbbb", others)


@pytest.mark.parametrize(
    "query",
    ["", "signature", "expires=1&&signature=2", "=", "&".join(["a=b"] * 50), "%", "signature=%ff", "expires=1;size=2"],
)
def test_broken_query_is_refused(query):
    with pytest.raises(BadSignature):
        check(PATH, query)


@pytest.mark.parametrize("again", ["size=5", "size=6", "signature=0", "uploadId=abc"])
def test_parameter_that_comes_twice_is_refused(again):
    path, query = signed()
    for both in (f"{query}&{again}", f"{again}&{query}"):
        with pytest.raises(BadSignature):
            check(path, both)


def test_values_cannot_run_into_each_other():
    _, query = signed(size_bytes=None, content_type="", fields={"a": "1&b=2"})
    for forged in ({"a": "1", "b": "2"}, {"a": "1\nb=2"}):
        with pytest.raises(BadSignature):
            check(PATH, changed(query, a=None) + "&" + urlencode(forged))


def test_order_of_parameters_does_not_matter():
    path, query = signed()
    assert check(path, "&".join(reversed(query.split("&")))).size_bytes == 5


def test_address_serves_until_it_expires():
    path, query = signed()
    assert check(path, query, now=NOW + timedelta(minutes=59, seconds=59))
    for late in (timedelta(hours=1), timedelta(days=400)):
        with pytest.raises(AddressExpired):
            check(path, query, now=NOW + late)


def test_expired_address_with_a_wrong_signature_is_only_wrong():
    """Otherwise a stranger could ask which addresses there were."""
    path, query = signed()
    with pytest.raises(BadSignature):
        check(path, changed(query, size="6"), now=NOW + timedelta(days=1))


def test_addresses_of_an_earlier_key_serve_while_it_is_a_fallback(settings):
    settings.SECRET_KEY = "first" * 8
    path, query = signed()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second" * 8, ["first" * 8]
    assert check(path, query).size_bytes == 5
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(BadSignature):
        check(path, query)


def test_new_addresses_are_signed_with_the_new_key(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second" * 8, ["first" * 8]
    path, query = signed()
    settings.SECRET_KEY_FALLBACKS = []
    assert check(path, query).size_bytes == 5


@pytest.mark.parametrize("path", ["/a b", "/ü", "/a?b", "/a%20b", "/a\nb", "/a#b"])
def test_path_that_addresses_escape_is_not_signed(path):
    with pytest.raises(ValueError, match="escape"):
        signing.signed_path(path, expires_at=NOW)


@pytest.mark.long
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=20)), st.text(max_size=20))
def test_whatever_was_signed_is_read_back(fields, content_type):
    path, query = signed(fields=fields, content_type=content_type)
    found = check(path, query)
    assert (dict(found.fields), found.content_type) == (fields, content_type)
