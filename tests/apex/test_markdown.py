"""Markdown of models: what people write is shown as they mean it, and nothing of it can act on the page."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex import markdown
from tests.apex.exchange import HOSTILE

SHOWN = {*("h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "pre", "code", "blockquote", "strong", "em")}
SHOWN |= {*("s", "hr", "br", "table", "thead", "tbody", "tr", "th", "td")}
TAG = re.compile(r"<(/?)(\w+)([^<>]*)>")
# The only attributes: the language of code, where a list begins, and our own class of a text that is too long.
ATTRIBUTES = re.compile(r'( class="(language-[^"<>]*|as-typed)"| start="\d+"| /)?')


def assert_harmless(html: str) -> None:
    for _, name, attributes in TAG.findall(html):
        assert name in SHOWN, html
        assert ATTRIBUTES.fullmatch(attributes), html
    # Every other bracket is escaped.
    assert not re.search(r"[<>]", TAG.sub("", html)), html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**Summary.** Three points", "<p><strong>Summary.</strong> Three points</p>\n"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"),
        ("```python\nif a < b:\n```", '<pre><code class="language-python">if a &lt; b:\n</code></pre>\n'),
        ("3. c", '<ol start="3">\n<li>c</li>\n</ol>\n'),
        ("", ""),
    ],
)
def test_markup_is_shown(text, html):
    assert markdown.render(text) == html
    assert_harmless(html)


def test_columns_have_no_styles_which_the_content_policy_refuses():
    html = markdown.render("| a | b |\n|--:|:-:|\n| 1 | 2 |")
    assert "<td>1</td>" in html
    assert "style" not in html


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "[click](javascript:alert(1))",
        "![seen](https://evil.example/seen.png)",
        "<https://evil.example/>",
        "[a][r]\n\n[r]: https://evil.example/",
        '```"><script>alert(1)</script>\nx\n```',
        "<div onclick=alert(1)>\n\n**x**\n\n</div>",
        "&lt;script&gt; &#60;img&#62;",
        "<!-- -->",
        "`<b>`",
    ],
)
def test_hostile_text_stays_text(text):
    assert_harmless(markdown.render(text))


@given(st.text(alphabet="<>\"'&*_`~[](){}#|-=!:/\\ \n\tabcj1.", max_size=300))
def test_no_text_at_all_becomes_harm(text):
    assert_harmless(markdown.render(text))


def test_text_that_is_too_long_is_shown_as_it_is():
    html = markdown.render("**a** <b>" * 6_000)
    assert html.startswith('<p class="as-typed">**a** &lt;b&gt;')
    assert_harmless(html)


def table(columns: int, rows: int) -> str:
    return f"{'|'.join('h' * columns)}\n{'|'.join('-' * columns)}\n" + "x\n" * rows


@pytest.mark.parametrize(
    "text",
    [table(180, 360), (table(60, 60) + "\n") * 150, "".join(f"> {line}\n" for line in table(180, 360).splitlines())],
    ids=["one", "many", "quoted"],
)
def test_tables_with_very_many_cells_stay_text(text):
    """Their rows are a letter each, and each would have as many cells as the head."""
    html = markdown.render(text)
    assert html.count("<td") < markdown.MAX_CELLS
    assert len(html) < 4 * len(text) + 30 * markdown.MAX_CELLS
    assert "h|h" in html
    assert_harmless(html)


def test_usual_tables_are_shown():
    text = "a|b|c\n-|-|-\n1|2|3\n"
    html = markdown.render(f"{text}\n" * 20 + f"{text}# end\n" + table(5, 400))
    assert html.count("<table>") == 22


@pytest.mark.long
@pytest.mark.parametrize(
    "piece", ["a|b\n-|-\n", "a|b\n-|-\nx\n# x\n", "[", "![[", "*a ", "_a_", "`", "a\n", "|a|\n|-|\n", "> ", "1. a\n"]
)
def test_hostile_text_takes_no_more_than_seconds(piece):
    """Of the longest text that is rendered; a quadratic rule would take a minute."""
    text = (piece * markdown.MAX_RENDERED_CHARACTERS)[: markdown.MAX_RENDERED_CHARACTERS]
    began = time.process_time()
    markdown.render(text)
    assert time.process_time() - began < 15
