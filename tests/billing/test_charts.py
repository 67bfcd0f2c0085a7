import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from billing import charts, money
from billing.charts import Column

SVG = "{http://www.w3.org/2000/svg}"


def drawn(values: list[int], **texts: str) -> ET.Element:
    """Return the chart of the values, parsed as a browser would: it must be well-formed."""
    columns = [Column(label=str(number), name=f"Day {number}", value=value) for number, value in enumerate(values, 1)]
    svg = charts.columns_svg(
        columns, **{"title": "Cost", "description": "Much", **texts}, show=money.display_text
    ).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return ET.fromstring(svg)


def fills(chart: ET.Element) -> list[ET.Element]:
    return chart.findall(f"{SVG}rect[@class='chart-fill']")


def test_screen_reader_is_told_title_and_description() -> None:
    chart = drawn([1], title="Cost per day", description="$1 in all")
    assert chart.get("role") == "img"
    title, description = (chart.get("aria-labelledby") or "").split()
    assert chart.find(f"{SVG}title[@id='{title}']").text == "Cost per day"
    assert chart.find(f"{SVG}desc[@id='{description}']").text == "$1 in all"


def test_hostile_text_stays_text() -> None:
    hostile = '</title><script>alert("1")</script>&'
    svg = charts.columns_svg(
        [Column(label=hostile, name=hostile, value=1)], title=hostile, description=hostile, show=lambda _: hostile
    )
    assert "<script" not in svg
    ET.fromstring(svg)


def test_nothing_in_it_breaches_the_content_policy() -> None:
    svg = charts.columns_svg([Column("1", "One", 5)], title="a", description="b", show=str) + charts.bar_svg(1, of=2)
    assert "style" not in svg
    assert "<script" not in svg
    assert " on" not in svg


def test_columns_stand_beside_each_other_within_the_width() -> None:
    bars = fills(drawn([5] * 31))
    lefts = [float(bar.get("x").rstrip("%")) for bar in bars]
    widths = [float(bar.get("width").rstrip("%")) for bar in bars]
    assert len(bars) == 31
    assert all(left + width < next_left for (left, next_left), width in zip(pairwise(lefts), widths, strict=False))
    assert lefts[0] >= 0
    assert lefts[-1] + widths[-1] <= 100


def test_column_is_as_high_as_its_value_of_the_topmost_line() -> None:
    highest, half = fills(drawn([1_000_000, 500_000]))
    assert int(highest.get("height")) == 2 * int(half.get("height"))
    lines = [int(line.get("y1")) for line in drawn([1_000_000]).findall(f"{SVG}line")]
    # A million is a round number, so its column reaches the top line.
    assert int(highest.get("y")) == min(lines)


def test_smallest_value_can_be_seen_and_nothing_is_not_drawn() -> None:
    bars = fills(drawn([1_000_000_000, 1, 0]))
    assert [int(bar.get("height")) for bar in bars][1] >= 1
    assert len(bars) == 2


def test_every_column_tells_its_value_to_the_pointer() -> None:
    hints = drawn([0, 1_500_000]).findall(f"{SVG}rect[@class='chart-hint']/{SVG}title")
    assert [hint.text for hint in hints] == ["Day 1: $0.00", "Day 2: $1.50"]


def test_labels_do_not_run_into_each_other() -> None:
    labels = drawn([1] * 31).findall(f"{SVG}text[@class='chart-text chart-label']")
    assert [label.text for label in labels] == ["1", "5", "9", "13", "17", "21", "25", "29"]


def test_no_columns_and_no_value_are_drawn_as_well() -> None:
    assert fills(drawn([])) == []
    assert fills(drawn([0, 0])) == []


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 2), (1, 2), (2, 2), (3, 4), (7, 8), (9, 10), (11, 20), (41, 60), (99, 100), (101, 200)]
)
def test_topmost_line_is_round_and_not_far_above(value: int, ceiling: int) -> None:
    assert charts.nice_ceiling(value) == ceiling


@pytest.mark.parametrize(
    ("value", "of", "width"), [(0, 0, "0.00%"), (1, 4, "25.00%"), (9, 4, "100.00%"), (-1, 4, "0.00%")]
)
def test_bar_is_its_part_of_the_whole_and_never_more(value: int, of: int, width: str) -> None:
    assert f'class="chart-fill" width="{width}"' in charts.bar_svg(value, of=of)
    assert 'aria-hidden="true"' in charts.bar_svg(value, of=of)
