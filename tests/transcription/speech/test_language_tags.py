from __future__ import annotations

import pytest

from transcription.speech import language_tags
from transcription.speech.engines.whisper_languages import LANGUAGES, languages_of

V3, BEFORE = languages_of("large-v3"), languages_of("large-v2")


@pytest.mark.long
@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en-US", "en"), ("en_us", "en"), ("eng", "en"), ("zh-CN", "zh"), ("zh-Hant-TW", "zh"), ("cmn-Hans-CN", "zh"),
        ("iw", "he"), ("iw-IL", "he"), ("in", "id"), ("ger", "de"), ("deu", "de"), ("pt-BR", "pt"), ("nb-NO", "no"),
        ("fil", "tl"), ("jv", "jw"), ("es-419", "es"), ("haw", "haw"), ("yue", "yue"), ("yue-Hant-HK", "yue"),
        ("zh-yue", "yue"), ("zh-HK", "yue"), (" FR ", "fr"),
        # What other programs send: FLORES-200, FLEURS, AssemblyAI, Google, older lists of codes.
        ("arz_Arab", "ar"), ("ary", "ar"), ("pbt_Arab", "ps"), ("zho_Hans", "zh"), ("yue_Hant", "yue"),
        ("nob_Latn", "no"), ("cmn_hans_cn", "zh"), ("en_uk", "en"), ("zh-Hans", "zh"), ("fil-PH", "tl"), ("scr", "hr"),
        ("sh-Latn", "sr"), ("zlm", "ms"),
        # The locale of a program on Linux.
        ("en_US.UTF-8", "en"), ("de_DE@euro", "de"), ("sr_RS.UTF-8@latin", "sr"), ("zh_HK.utf8", "yue"),
        ("pt_BR.ISO8859-1", "pt"),
    ],
)  # fmt: skip
def test_tag_names_a_language(tag, code):
    assert language_tags.code_of(tag, known=V3) == code


def test_cantonese_is_not_taken_for_mandarin_where_it_is_unknown():
    assert language_tags.code_of("yue", known=BEFORE) is None
    assert language_tags.code_of("zh-yue", known=BEFORE) is None
    assert language_tags.code_of("zh-HK", known=BEFORE) == "zh"


@pytest.mark.parametrize(
    "tag",
    [
        "xx", "english", "e", "", "en/us", "-en", "en\u0131", "engl", "tlh", "zh-min-nan", "zh-wuu", "wuu", "x" * 500,
        "C.UTF-8", "POSIX", ".UTF-8", "@euro",
    ],
)  # fmt: skip
def test_what_names_no_language_is_refused(tag):
    assert language_tags.code_of(tag, known=V3) is None


def test_every_code_is_its_own_tag():
    assert {code: language_tags.code_of(code, known=V3) for code in LANGUAGES} == {code: code for code in LANGUAGES}


def test_every_language_has_a_code_of_three_letters():
    reached = {language_tags.code_of(tag, known=V3) for tag in language_tags._SAME}
    assert set(LANGUAGES) - reached <= {"haw", "yue"}  # their codes have three letters


def test_english_names_are_suggested_as_codes():
    assert language_tags.suggestion("Haitian creole", known=V3, names=LANGUAGES) == "ht"
    assert language_tags.suggestion("Klingon", known=V3, names=LANGUAGES) is None
    assert language_tags.suggestion("German", known=frozenset({"en"}), names=LANGUAGES) is None
