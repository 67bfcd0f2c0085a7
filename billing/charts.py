"""Draws column charts as SVG, without scripts and inline styles. Pure.

A chart has no view box: x is in percent of the available width, y in pixels. So its text keeps its size on a phone and
on a wide screen. Colours come from the style sheet by class and follow the light or dark theme. A screen reader sees
one image with a title and a description; the page shows the same numbers in a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

HEIGHT_PX = 200
# Space above the highest column for the text of the top line, and below the columns for their labels.
TOP_PX = 20
BOTTOM_PX = 24
# Width of a column in percent of its slot.
FILL_PERCENT = 72
# More labels would overlap on a phone.
MAX_LABELS = 8
# Every value above zero is visible, however small it is beside the others.
MIN_COLUMN_PX = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    label: short text below it ("17"). name: full text of its tooltip ("17 November"). value: zero or more.
    """

    label: str
    name: str
    value: int


def columns_svg(
    columns: Sequence[Column], *, title: str, description: str, show: Callable[[int], str], prefix: str = "chart"
) -> str:
    """Return a column chart as an SVG element. All texts are escaped, so it is safe to put into a page.

    show: formats a value, for example as dollars. prefix: starts the element ids; must be a trusted word and different
    for each chart of a page.
    """
    plot_px = HEIGHT_PX - TOP_PX - BOTTOM_PX
    ceiling = nice_ceiling(max((column.value for column in columns), default=0))
    floor_px = HEIGHT_PX - BOTTOM_PX
    parts = [
        f'<svg class="chart" role="img" width="100%" height="{HEIGHT_PX}"',
        f' aria-labelledby="{prefix}-title {prefix}-text">',
        f'<title id="{prefix}-title">{escape(title)}</title>',
        f'<desc id="{prefix}-text">{escape(description)}</desc>',
    ]
    scale = []
    for share in (0, 1, 2):
        y = floor_px - plot_px * share // 2
        parts.append(f'<line class="chart-line" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        if share:
            scale.append(f'<text class="chart-text" x="0" y="{y - 5}">{escape(show(ceiling * share // 2))}</text>')
    slot = 100 / len(columns) if columns else 100
    stride = -(-len(columns) // MAX_LABELS) if columns else 1
    for number, column in enumerate(columns):
        parts.extend(
            _column(column, x=slot * number, slot=slot, px=_height_px(column.value, ceiling, plot_px), show=show)
        )
        if number % stride == 0:
            parts.append(
                f'<text class="chart-text chart-label" x="{slot * (number + 0.5):.2f}%" y="{HEIGHT_PX - 6}">'
                f"{escape(column.label)}</text>"
            )
    # Above the columns: the first of them stands where the amounts are.
    return "".join((*parts, *scale, "</svg>"))


def bar_svg(value: int, *, of: int) -> str:
    """Return a thin bar whose length is value / of. Hidden from screen readers: the page shows the number beside it."""
    percent = 0.0 if of <= 0 else max(0.0, min(100.0, value * 100 / of))
    return (
        '<svg class="chart-bar" aria-hidden="true" width="100%" height="6">'
        '<rect class="chart-track" width="100%" height="6" rx="3"/>'
        f'<rect class="chart-fill" width="{percent:.2f}%" height="6" rx="3"/></svg>'
    )


def nice_ceiling(value: int) -> int:
    """Return the smallest of 2, 4, 6, 8, 10, 20, 40 ... that is at least the value. Its half is a round number too."""
    power = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * power >= value:
                return step * power
        power *= 10


def _height_px(value: int, ceiling: int, plot_px: int) -> int:
    return max(MIN_COLUMN_PX, round(plot_px * value / ceiling)) if value > 0 else 0


def _column(column: Column, *, x: float, slot: float, px: int, show: Callable[[int], str]) -> list[str]:
    margin = slot * (100 - FILL_PERCENT) / 200
    hint = escape(f"{column.name}: {show(column.value)}")
    shapes = []
    if px:
        shapes.append(
            f'<rect class="chart-fill" x="{x + margin:.3f}%" y="{HEIGHT_PX - BOTTOM_PX - px}" '
            f'width="{slot * FILL_PERCENT / 100:.3f}%" height="{px}" rx="2"/>'
        )
    # The whole slot shows the tooltip, so that short columns can be pointed at too.
    shapes.append(
        f'<rect class="chart-hint" x="{x:.3f}%" y="{TOP_PX}" width="{slot:.3f}%" '
        f'height="{HEIGHT_PX - TOP_PX - BOTTOM_PX}"><title>{hint}</title></rect>'
    )
    return shapes
