from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.speech import scripts
from transcription.speech.formats import lines

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "M", "Z"]) | st.just(" "), max_size=200)


@pytest.mark.long
@given(TEXT, st.integers(10, 80))
def test_lines_keep_to_the_width_and_lose_nothing(text, width):
    made = lines.wrap(text, width=width)
    assert all(scripts.columns(line) <= width for line in made)
    assert "".join(made).replace(" ", "") == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "width", "made"),
    [
        ("one two three four", 18, ["one two three four"]),
        ("one two three four", 12, ["one two", "three four"]),
        ("我们今天用iPhone15拍照", 12, ["我们今天用", "iPhone15拍照"]),
        ("今天天气很好。我们去公园", 14, ["今天天气很好。", "我们去公园"]),
        ("他说《红楼梦》很好看", 10, ["他说《红楼", "梦》很好看"]),
        ("ちょっと待ってください", 10, ["ちょっと", "待ってく", "ださい"]),
        ("價錢是3.14元 還有", 12, ["價錢是3.14", "元 還有"]),
        ("« Comment allez-vous ? »", 16, ["« Comment", "allez-vous ? »"]),
        ("donaudampfschifffahrt", 10, ["donaudampf", "schifffahr", "t"]),
        ("བོད་ཡིག་སློབ་སྦྱོང་བྱེད", 10, None),
        ("क्षत्रियोंक्षत्रियों", 10, ["क्षत्रियोंक्ष", "त्रियों"]),
        # A number has no last line of its own, which pysubs2 would drop.
        ("call me at 030123456789", 16, ["call me", "at 030123456789"]),
        ("the code is 4711 0815", 14, ["the code is", "4711 0815"]),
        ("", 10, []),
    ],
)
def test_lines_are_broken_where_the_script_allows(text, width, made):
    found = lines.wrap(text, width=width)
    assert all(scripts.columns(line) <= width for line in found)
    if made is None:
        assert all(line.endswith("་") for line in found[:-1])
    else:
        assert found == made


@pytest.mark.parametrize("width", range(10, 24, 2))
def test_no_line_begins_with_a_mark_or_ends_with_an_opening_one(width):
    text = "今天，我们去「北京」看朋友。ちょっと、ラーメンを食べて（二杯）、ゆっくり話しました！"
    for line in lines.wrap(text, width=width):
        assert line[0] not in "，。、！）」ょっーゃ"
        assert line[-1] not in "「（"


def test_combining_marks_stay_with_their_letter():
    made = lines.wrap("เราใช้คอมพิวเตอร์ทุกวันที่ทำงานเพื่อเขียนหนังสือ", width=12)
    assert len(made) > 2
    for line in made:
        assert scripts.columns(line[0]) == 1
        assert line[0] not in "ะาำ"
        assert line[-1] not in "เแโใไ"
