"""What the server prints when its page answers."""

import pytest

from transcription.speech.engines.choice import Choice
from voxsite.serve import announce, embedded_redis


@pytest.fixture
def environ(tmp_path):
    return {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://elsewhere", "VOXSITE_ENGINE": "faster_whisper"}


def test_given_services_are_named_without_their_passwords(environ):
    environ["DATABASE_URL"] = "postgresql://voxsite:secret@database/voxsite"
    environ["REDIS_URL"] = "redis://:secret@elsewhere"
    said = announce.stand_ins(environ)
    assert said == "database: postgresql; queue: Redis by REDIS_URL; speech: Whisper"


def test_stand_ins_say_what_they_stand_for(environ, tmp_path):
    environ |= {"REDIS_URL": embedded_redis.url(tmp_path), "VOXSITE_ENGINE": "pocketsphinx"}
    said = announce.stand_ins(environ)
    assert "SQLite (no DATABASE_URL)" in said
    assert f"{embedded_redis.executable()} (no REDIS_URL)" in said
    assert "for development only" in said


@pytest.mark.parametrize("written", ["", "{", "[]", "null", "{}"])
def test_half_written_choice_is_no_choice(environ, tmp_path, written):
    environ["VOXSITE_ENGINE"] = "auto"
    (tmp_path / "engine.json").write_text(written)
    assert "not chosen yet" in announce.stand_ins(environ)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, "not chosen yet"),
        (Choice("faster_whisper", is_final=False), "not chosen yet"),
        (Choice("faster_whisper", is_final=False, total_bytes=133_343_666), "being downloaded once (133 MB)"),
        (Choice("faster_whisper"), "speech: Whisper"),
        (Choice("pocketsphinx"), "PocketSphinx, for development only"),
    ],
)
def test_start_says_what_recognises_speech(tmp_path, choice, said):
    if choice is not None:
        (tmp_path / "engine.json").write_text(choice.to_json())
    environ = {"VOXSITE_DATA_DIR": str(tmp_path), "REDIS_URL": "redis://elsewhere"}
    assert said in announce.stand_ins(environ)
