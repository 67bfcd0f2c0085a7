"""Numbers to SVG: columns over time, drawn without a script and without inline styles. Pure.

A chart has no view box: x is in percent of the width that the page gives it, y in pixels, so that its text keeps its
size on a phone and on a wide screen. Colours come from the style sheet, by class, and so follow light and dark. It is
one image to a screen reader, with a title and a description; the page puts the same numbers beside it as a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

HEIGHT_PX = 200
# Above the highest column: the text of the topmost line. Below the lowest: the labels of the columns.
TOP_PX = 20
BOTTOM_PX = 24
# How much of its place a column fills, in percent.
FILL_PERCENT = 72
# More labels than this run into each other on a phone.
MAX_LABELS = 8
# A value that is not zero can be seen, however small it is beside the others.
MIN_COLUMN_PX = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    label: short, below it ("17"). name: in full, for the hint over it ("17 November"). value: zero or more.
    """

    label: str
    name: str
    value: int


def columns_svg(
    columns: Sequence[Column], *, title: str, description: str, show: Callable[[int], str], prefix: str = "chart"
) -> str:
    """Return a column chart as an SVG element, safe to put into a page.

    show: how a value is written, such as dollars. prefix: begins the ids in it, a word of ours; each chart of a page
    needs its own.
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
    for share in (0, 1, 2):
        y = floor_px - plot_px * share // 2
        parts.append(f'<line class="chart-line" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        if share:
            parts.append(f'<text class="chart-text" x="0" y="{y - 5}">{escape(show(ceiling * share // 2))}</text>')
    place = 100 / len(columns) if columns else 100
    stride = -(-len(columns) // MAX_LABELS) if columns else 1
    for number, column in enumerate(columns):
        parts.extend(
            _column(column, x=place * number, place=place, px=_height_px(column.value, ceiling, plot_px), show=show)
        )
        if number % stride == 0:
            parts.append(
                f'<text class="chart-text chart-label" x="{place * (number + 0.5):.2f}%" y="{HEIGHT_PX - 6}">'
                f"{escape(column.label)}</text>"
            )
    parts.append("</svg>")
    return "".join(parts)


def bar_svg(value: int, *, of: int) -> str:
    """Return a thin bar, as long as the value's part of a whole. Only decoration: the number stands beside it."""
    percent = 0.0 if of <= 0 else max(0.0, min(100.0, value * 100 / of))
    return (
        '<svg class="chart-bar" aria-hidden="true" width="100%" height="6">'
        '<rect class="chart-track" width="100%" height="6" rx="3"/>'
        f'<rect class="chart-fill" width="{percent:.2f}%" height="6" rx="3"/></svg>'
    )


def nice_ceiling(value: int) -> int:
    """Return the next number from 2, 4, 6, 8, 10, 20, 40 ... that is not below the value: its half is round as well."""
    power = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * power >= value:
                return step * power
        power *= 10


def _height_px(value: int, ceiling: int, plot_px: int) -> int:
    return max(MIN_COLUMN_PX, round(plot_px * value / ceiling)) if value > 0 else 0


def _column(column: Column, *, x: float, place: float, px: int, show: Callable[[int], str]) -> list[str]:
    margin = place * (100 - FILL_PERCENT) / 200
    hint = escape(f"{column.name}: {show(column.value)}")
    shapes = []
    if px:
        shapes.append(
            f'<rect class="chart-fill" x="{x + margin:.3f}%" y="{HEIGHT_PX - BOTTOM_PX - px}" '
            f'width="{place * FILL_PERCENT / 100:.3f}%" height="{px}" rx="2"/>'
        )
    # The whole place answers to the pointer, so that a short column can be asked too.
    shapes.append(
        f'<rect class="chart-hint" x="{x:.3f}%" y="{TOP_PX}" width="{place:.3f}%" '
        f'height="{HEIGHT_PX - TOP_PX - BOTTOM_PX}"><title>{hint}</title></rect>'
    )
    return shapes
