"""What customers may write as the receiver of webhooks."""

import pytest

from accounts import encryption
from accounts.errors import InvalidField
from transcription.models import Job
from transcription.webhooks import targets


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/hook?token=a%2Fb", "example.com:443"),
        (" http://EXAMPLE.com ", "example.com:80"),
        ("https://bücher.example/", "xn--bcher-kva.example:443"),
        ("https://[2606:4700::1]/hook", "2606:4700::1:443"),
    ],
)
def test_public_address_is_accepted(url, host):
    target = targets.read(url=url)
    assert target.host == host
    assert target.url == url.strip()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data",
        "https://example.com:8443/",
        "https://user:password@example.com/",
        f"https://example.com/{'a' * 2000}",
    ],
)
def test_other_address_is_refused(url):
    with pytest.raises(InvalidField) as refusal:
        targets.read(url=url)
    assert refusal.value.data["param"] == "webhook_url"


def test_value_of_a_header_is_encrypted():
    target = targets.read(url="https://example.com/", header_name="Authorization", header_value="Bearer abc def")
    assert "abc" not in target.header_value
    assert encryption.decrypt(target.header_value) == "Bearer abc def"


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("Authorization", "", "header_value"),
        ("", "Bearer abc", "header_name"),
        ("X Key", "a", "header_name"),
        ("X-Key:", "a", "header_name"),
        ("Ключ", "a", "header_name"),
        ("X" * 101, "a", "header_name"),
        ("Host", "internal", "header_name"),
        ("content-LENGTH", "0", "header_name"),
        ("Transfer-Encoding", "chunked", "header_name"),
        ("Webhook-Id", "msg_forged", "header_name"),
        ("Proxy-Authorization", "a", "header_name"),
        ("X-Key", "a\r\nX-Other: b", "header_value"),
        ("X-Key", "ключ", "header_value"),
        ("X-Key", "a" * 2001, "header_value"),
    ],
)
def test_other_header_is_refused(name, value, param):
    with pytest.raises(InvalidField) as refusal:
        targets.read(url="https://example.com/", header_name=name, header_value=value)
    assert refusal.value.data["param"] == f"webhook_auth_{param}"


def test_webhook_of_a_job_is_read_back():
    target = targets.read(url="https://example.com/", header_name="X-Key", header_value="secret")
    job = Job(webhook_url=target.url, webhook_header_name="X-Key", webhook_header_value=target.header_value)
    assert targets.of(job) == target
    assert targets.of(Job()) is None


def test_host_of_an_address_that_is_refused_by_now_is_empty():
    assert targets.host_in("http://127.0.0.1:9000/") == ""
