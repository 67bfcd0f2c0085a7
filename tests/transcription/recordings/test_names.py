"""File names as customers see them: nothing in them can mislead or break a page."""

import pytest

from transcription import recordings
from transcription.recordings import names


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("meeting.mp3", "meeting.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\talk.wav", "talk.wav"),
        ("/abs/olute.wav", "olute.wav"),
        ("..", "recording"),
        ("", "recording"),
        ("a\x00b\nc.wav", "abc.wav"),
        ("\u202e3pm.exe", "3pm.exe"),
        ("cafe\u0301.wav", "caf\u00e9.wav"),
        ("zero\u200bwidth.wav", "zerowidth.wav"),
        ("two\u2028lines.wav", "two lines.wav"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
    ],
)
def test_file_names_are_made_safe_to_show(sent, shown):
    assert recordings.display_name(sent) == shown


def test_long_file_name_keeps_its_extension():
    name = recordings.display_name("x" * 500 + ".mp3")
    assert len(name) <= names.MAX_NAME_LENGTH
    assert name.endswith(".mp3")


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("talk.mp3", "talk"),
        ("talk.MP3", "talk"),
        ("talk.part.wav", "talk.part"),
        ("12.05.2026 Board", "12.05.2026 Board"),
        ("version 1.2", "version 1.2"),
        (".wav", ".wav"),
        ("..\\..\\x", ".. .. x"),
        ("a/b.wav", "a b"),
        ("fdp\u202e.m4a", "fdp"),
        ("\u200b", "transcript"),
        ("", "transcript"),
    ],
)
def test_file_of_a_recording_is_called_as_it_without_its_extension(title, stem):
    assert recordings.stem(title, otherwise="transcript") == stem
