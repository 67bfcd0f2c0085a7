import pytest

from transcription.templatetags import recordings

NO_BREAK = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("ms", "clock", "length"),
    [
        (0, "0:00", "0 s"),
        (999, "0:00", "0 s"),
        (7_400, "0:07", "7 s"),
        (60_000, "1:00", "1 min"),
        (250_000, "4:10", "4 min 10 s"),
        (3_600_000, "1:00:00", "1 h"),
        (12_034_000, "3:20:34", "3 h 20 min"),
    ],
)
def test_lengths(ms, clock, length):
    assert recordings.clock(ms) == clock
    assert recordings.length_of(ms).replace(NO_BREAK, " ") == length


def test_ninth_speaker_has_the_first_colour_again():
    assert [recordings.speaker_class(position) for position in (0, 7, 8)] == ["speaker-1", "speaker-8", "speaker-1"]


@pytest.mark.parametrize(("code", "name"), [("en", "English"), ("xx", "xx")])
def test_languages_have_names(code, name):
    assert recordings.language_name(code) == name


@pytest.mark.parametrize("show", [recordings.clock, recordings.length_of])
def test_nothing_is_a_dash(show):
    assert show(None) == "\N{EN DASH}"
