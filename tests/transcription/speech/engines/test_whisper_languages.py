import pytest

from transcription.speech.engines import whisper_languages


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("large-v3", "large-v3"),
        ("Systran/faster-whisper-base", "base"),
        ("/models/whisper-base", "base"),
        ("/models/our-own", "our-own"),
    ],
)
def test_label_is_what_people_call_it(source, label):
    assert whisper_languages.label(source) == label


def test_turbo_and_english_models_do_not_claim_to_translate():
    assert whisper_languages.translates("large-v3", None)
    assert not whisper_languages.translates("large-v3-turbo", None)
    assert not whisper_languages.translates("base.en", frozenset({"en"}))


@pytest.mark.parametrize("name", ["large-v3", "large-v3-turbo", "turbo", "distil-large-v3.5"])
def test_cantonese_is_known_since_version_3(name):
    assert "yue" in whisper_languages.languages_of(name)


@pytest.mark.parametrize("name", ["large-v2", "base", "medium", "distil-large-v2", "small.en"])
def test_cantonese_is_unknown_before(name):
    assert "yue" not in whisper_languages.languages_of(name)
