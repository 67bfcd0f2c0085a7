from __future__ import annotations

import pytest

from transcription.speech.engines import spacing


def align(*units, step=0.2):
    """Return an alignment as faster-whisper gives it: each unit lasts `step` seconds."""
    return [
        {"word": unit, "tokens": [at], "start": at * step, "end": (at + 1) * step, "probability": 0.5}
        for at, unit in enumerate(units)
    ]


def words(*units, language="en"):
    return spacing.words_of(align(*units), language=language)


def written(*units, language="en"):
    """Return the words, each after the blank that stands before it; "|" where two words touch."""
    found = words(*units, language=language)
    return "".join((" " if one.has_space_before else "|" if at else "") + one.text for at, one in enumerate(found))


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ((" d", "'avoir", ","), " d'avoir,"),
        ((" puis", "-je"), " puis-je"),
        ((" 3", ".14", " dollars"), " 3.14 dollars"),
        ((" 10", ":30"), " 10:30"),
        ((" john", "@example", ".com"), " john@example.com"),
        ((" a", " well", "-known", " 50", "%", " more"), " a well-known 50% more"),
        ((" It", "'s", " 50", "%", ","), " It's 50%,"),
        ((" ¿", "Qué", "?"), " ¿Qué?"),
        ((" don", "’t"), " don’t"),
        ((" Quoi", " ?"), " Quoi ?"),
        # Not in the list of faults: dates, paths, sums, units, brackets, quotation marks of several languages.
        ((" 2026", "-", "11", "-", "28"), " 2026-11-28"),
        ((" https", "://", "example", ".com", "/", "a", "_b"), " https://example.com/a_b"),
        ((" $", "1", ",", "000", ".50"), " $1,000.50"),
        ((" f", "(", "x", ")", " (", "y", ")"), " f(x) (y)"),
        ((" „", "Hallo", "“", " und"), " „Hallo“ und"),
        ((" »", "Hallo", "«", " und"), " »Hallo« und"),
        ((" rock", "'", "n", "'", "roll"), " rock'n'roll"),
        ((" C", "++", " C", "#", " AT", "&T"), " C++ C# AT&T"),
        ((" ב", "-", "2024"), " ב-2024"),
        ((" 안녕", "하세요", "."), " 안녕하세요."),
        # Thousands with a narrow no-break space, Dutch evenings, particles behind Latin names, marks of other scripts.
        ((" 10", "\u202f000", " francs"), " 10 000 francs"),
        ((" Quoi", "\u202f?"), " Quoi ?"),
        ((" '", "s", " avonds"), " 's avonds"),
        ((" AI", "가", " 말", "했다"), " AI가 말했다"),
        ((" كيف", " حالك", "؟"), " كيف حالك؟"),
        ((" צה", '"', "ל"), ' צה"ל'),
        ((" 20", "°", "C", ",", " -", "5", " €"), " 20°C, -5 €"),
        ((" +", "49", " 30", " 123", "-", "45"), " +49 30 123-45"),
    ],
)
def test_units_without_a_blank_are_one_word(units, text):
    assert written(*units) == text


def test_a_joined_word_has_one_span_of_time_and_the_mean_probability():
    [word] = spacing.words_of(
        [
            {"word": " 3", "tokens": [1], "start": 1.0, "end": 1.2, "probability": 0.9},
            {"word": ".14", "tokens": [2, 3], "start": 1.2, "end": 1.9, "probability": 0.6},
            {"word": ".", "tokens": [4], "start": 1.9, "end": 4.0, "probability": 0.1},
        ],
        language="en",
    )
    assert (word.text, word.start, word.end) == ("3.14.", 1.0, 1.9)
    assert word.probability == pytest.approx(0.7)


def test_a_mark_before_a_word_takes_the_time_of_the_word():
    [word] = words(" ¿", "Qué")
    assert (word.text, word.start, word.end) == ("¿Qué", 0.2, 0.4)


def test_translation_aligned_by_the_spoken_language_has_whole_words():
    """Whisper's tokenizer for Japanese, Chinese and Thai splits at every token; the text is English."""
    assert written(" Yam", "amoto", "'s", " well", "-", "known") == " Yamamoto's well-known"


@pytest.mark.parametrize(
    ("language", "units", "text"),
    [
        ("zh", ("我们", "使用", " machine", " learning", "来", "处理"), "我们|使用 machine learning|来|处理"),
        ("zh", ("我", "用", "iP", "hone", "15", "，", "很", "好"), "我|用|iPhone15|，|很|好"),
        ("ja", ("東京", "で", " Mach", "ine", " Learning", "を"), "東京|で Machine Learning|を"),
        ("th", ("เรา", "ใช้", " machine", " learning", " ใน", "งาน"), "เรา|ใช้ machine learning ใน|งาน"),
        ("th", ("ใช", "้", " ", "ใ", "น", "ง", "าน"), "ใช้ ใน|งาน"),
        ("th", ("ปี", " ", "๒๕", "๖๙", " ครับ"), "ปี ๒๕|๖๙ ครับ"),
        ("zh", ("A", "股", "上涨", "3", ".5", "%"), "A|股|上涨|3.5%"),
        # A blank that Chinese has not: a unit of its own, before a Han character, before a mark.
        ("zh", ("我", " ", "的", " 书", " 。"), "我|的|书|。"),
        ("yue", ("佢", " 哋", "講", " ", "English"), "佢|哋|講 English"),
        ("zh", ("读", "《", "红楼梦", "》", "吧"), "读|《红楼梦》|吧"),
        # Blanks between phrases are part of the language.
        ("km", (" ខ្ញុំ", " ទៅ"), " ខ្ញុំ ទៅ"),
        ("bo", (" བོད་", " ཡིག"), " བོད་ ཡིག"),
        ("ja", ("はい", " そう", "です"), "はい そう|です"),
        ("ko", (" 안녕", " 세계"), " 안녕 세계"),
    ],
)
def test_scripts_without_blanks_keep_what_the_model_wrote(language, units, text):
    found = written(*units, language=language).replace("|，", "，").replace("|。", "。")
    assert found == text.replace("|，", "，").replace("|。", "。")


def test_every_text_is_kept():
    units = (" “", "你好", "”", " ", "said", " J", ".", "R", ".", " (", "再见", ")", "！")
    assert "".join(one.text for one in words(*units, language="zh")) == "".join(units).replace(" ", "")


def test_nothing_gives_nothing():
    assert words() == words("", " ", "") == []


@pytest.mark.parametrize(
    ("units", "text"),
    [((" ሰላም", " ለ\ufffd"), " ሰላም ለ"), ((" caf", "\ufffd"), " caf"), ((" so", " \ufffd\ufffd", " what"), " so what")],
)
def test_half_a_character_is_left_out(units, text):
    """The decoder stops at its limit of tokens, of which a letter of Amharic or Burmese takes several."""
    assert written(*units) == text
