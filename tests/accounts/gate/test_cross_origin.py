"""What a browser is told before it sends a request of another site's page."""

from accounts.gate import cross_origin


def allowed(asked):
    return dict(cross_origin.preflight_headers(("GET", "POST"), asked_headers=asked))


def test_what_a_page_asks_for_is_allowed_by_name():
    headers = allowed("authorization,content-type")
    assert headers["access-control-allow-methods"] == "GET, POST"
    # "*" would not stand for Authorization.
    assert headers["access-control-allow-headers"] == "authorization,content-type"


def test_nothing_or_too_much_is_not_repeated():
    for asked in ("", "x" * (cross_origin.MAX_ASKED_BYTES + 1)):
        assert "access-control-allow-headers" not in allowed(asked)


def test_no_credentials_are_ever_allowed():
    assert "access-control-allow-credentials" not in {**allowed("cookie"), **dict(cross_origin.ANSWER_HEADERS)}
