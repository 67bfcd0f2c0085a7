import pytest

from transcription.dialects.voxnexus import locales
from transcription.speech import language_tags
from transcription.speech.engines import whisper_languages


@pytest.mark.parametrize(
    ("code", "locale"),
    [
        ("en", "en-US"),
        ("zh", "zh-CN"),
        ("yue", "yue-HK"),
        ("pt", "pt-BR"),
        ("ar", "ar-EG"),
        ("jw", "jv-ID"),
        ("xx", "xx"),
    ],
)
def test_language_has_its_most_common_locale(code, locale):
    assert locales.locale_of(code) == locale


def test_every_language_of_whisper_has_a_locale_that_reads_as_it():
    known = frozenset(whisper_languages.LANGUAGES)
    for code in known:
        locale = locales.locale_of(code)
        assert "-" in locale, code
        assert language_tags.code_of(locale, known=known) == code


@pytest.mark.parametrize(
    ("tag", "written"),
    [("en", "en"), ("EN_us", "en-US"), ("zh-hant-tw", "zh-Hant-TW"), (" de-de ", "de-DE"), ("es-419", "es-419")],
)
def test_tag_is_written_in_its_usual_form(tag, written):
    assert locales.written(tag) == written
