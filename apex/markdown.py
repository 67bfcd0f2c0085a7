"""Markdown of language models as HTML that cannot harm the page: no HTML of theirs, no links, no images, no styles.

A link would lead wherever a recording or a hostile prompt wants, and an image would tell a stranger's server what was
read. So the markup of both stays text, and whoever wants to go to an address can copy it.
"""

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import table

# Longer texts are shown as they are: a hostile one of this length takes about a second to parse.
MAX_RENDERED_CHARACTERS = 50_000
# Of all tables of a text. Short rows are filled up to the columns of their head, so a few lines can have very many.
MAX_CELLS = 5_000

# In this preset there is no HTML, and there are tables. Unclosed brackets would take quadratic time with links.
_markdown = MarkdownIt("js-default", {"html": False}).disable(["link", "image", "autolink", "reference"])


def _small_table(state: StateBlock, first_line: int, end_line: int, silent: bool) -> bool:
    """Parse a table, unless the tables of the text would have too many cells with it. Then it stays text."""
    if state.env.get("has_too_many_cells") or not table(state, first_line, end_line, True):
        return False
    if silent:
        return True
    # At most: a table ends at an empty line, or before.
    last_line = first_line
    while last_line < end_line and not state.isEmpty(last_line):
        last_line += 1
    columns = state.src[state.bMarks[first_line] : state.eMarks[first_line]].count("|") + 1
    state.env["cells"] = state.env.get("cells", 0) + columns * (last_line - first_line)
    if state.env["cells"] > MAX_CELLS:
        state.env["has_too_many_cells"] = True
        return False
    return table(state, first_line, end_line, False)


_markdown.block.ruler.at("table", _small_table, {"alt": ["paragraph", "reference"]})


def render(text: str) -> SafeString:
    """Return Markdown as HTML. A text that is too long is shown as plain text."""
    if len(text) > MAX_RENDERED_CHARACTERS:
        return format_html('<p class="as-typed">{}</p>', text)
    tokens = _markdown.parse(text)
    for token in tokens:
        # The alignment of a column, which the site's content policy would refuse.
        token.attrs.pop("style", None)
    html: str = _markdown.renderer.render(tokens, _markdown.options, {})
    return mark_safe(html)  # noqa: S308 - markdown-it escapes all text
