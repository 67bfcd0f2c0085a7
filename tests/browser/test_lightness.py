"""What a page brings with it: one style sheet and one script, compressed, and the small files that every site has."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.mark.parametrize("path", ["/", "/docs/", "/overview/", "/transcripts/", "/transcripts/upload/", "/playground/"])
def test_page_asks_for_one_style_sheet_and_one_script_that_are_compressed(open_window, signed_in, site, path):
    page = open_window(storage_state=signed_in)
    answers = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(f"{site}{path}")
    page.wait_for_load_state("networkidle")
    kinds = [answer.request.resource_type for answer in answers]
    assert (kinds.count("stylesheet"), kinds.count("script")) == (1, 1)
    for answer in answers:
        # Not the pages of members: their compressed size would tell of the secrets in them (voxsite/middleware.py).
        is_public = answer.request.resource_type == "document" and path in ("/", "/docs/")
        if answer.status == 200 and (is_public or answer.request.resource_type in ("stylesheet", "script")):
            assert answer.header_value("content-encoding") in ("br", "gzip", "zstd"), answer.url


def test_browsers_and_crawlers_get_their_small_files_and_people_a_status_page(open_window, site):
    page = open_window()
    icon = page.request.get(f"{site}/favicon.ico")
    assert (icon.status, icon.headers["content-type"]) == (200, "image/svg+xml")
    robots = page.request.get(f"{site}/robots.txt")
    assert (robots.status, robots.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    page.goto(f"{site}/")
    page.get_by_role("link", name="Status").click()
    assert page.get_by_role("heading", level=1).inner_text() in (
        "All systems operational",
        "Some systems have problems",
    )
