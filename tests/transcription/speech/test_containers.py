from __future__ import annotations

import io

import pytest

from tests.fixtures import hostile, recordings
from transcription.speech import containers, errors


@pytest.mark.parametrize("recording", recordings.everything(), ids=lambda one: one.path.name)
def test_no_recording_is_taken_for_something_else(recording):
    with recording.path.open("rb") as file:
        containers.refuse_foreign(file)
        assert file.tell() == 0


@pytest.mark.parametrize(
    ("make", "word"),
    [(hostile.playlist, "playlist"), (hostile.archive, "archive"), (hostile.image, "image"), (hostile.text, "text")],
)
def test_sender_is_told_what_the_file_is(make, word, tmp_path):
    with make(tmp_path).open("rb") as file, pytest.raises(errors.NotAudio, match=word):
        containers.refuse_foreign(file)


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><title>A talk</title>",
        b"\xef\xbb\xbf\r\n <!doctype HTML PUBLIC '-//W3C//DTD HTML 4.01//EN'>",
        b"<HTML lang=en>",
        b"<head>",
        b"<script src=x>",
        b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">',
        b"<!-- made by hand --><html>",
    ],
)
def test_sender_of_a_web_page_is_told_so(page):
    with pytest.raises(errors.NotAudio, match=r"a web page\. Open it and download the recording itself"):
        containers.refuse_foreign(io.BytesIO(page))


@pytest.mark.parametrize("text", [b'<?xml version="1.0"?><smil>', b"<htmlish>", b"a page in <html>", b"<!-- notes -->"])
def test_other_text_is_no_web_page(text):
    assert not containers.is_web_page(text)


@pytest.mark.parametrize(
    "demuxer", ["hls", "dash", "concat", "image2", "sdp", "rtsp", "lavfi", "srt", "tty", "applehttp"]
)
def test_what_opens_other_files_is_not_on_the_list(demuxer):
    assert demuxer not in containers.DEMUXERS


def test_mp3_promise_is_read_behind_a_large_tag():
    content = recordings.named("sentence-slt.mp3").path.read_bytes()
    frames_at = content.index(b"\xff\xf3")
    tag = b"ID3\x04\x00\x00\x00\x08\x00\x00" + bytes(8 << 14)
    with_tag, without = io.BytesIO(tag + content[frames_at:]), io.BytesIO(content[frames_at:])
    promised = containers.mp3_declared_samples(with_tag)
    assert promised == containers.mp3_declared_samples(without)
    assert promised is not None
    assert 3_400 <= promised // 16 <= 3_700


def test_mp3_without_header_promises_nothing():
    assert containers.mp3_declared_samples(io.BytesIO(bytes(5_000))) is None
