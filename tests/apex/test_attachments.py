"""How many tokens are held for a file inside a chat request."""

import base64

import pytest

from apex import attachments, usage_meter

BOOK = "It was the best of times, it was the worst of times. " * 17_000  # 901 KB
PICTURES = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a\x40\0",
    "webp": b"RIFF\0\0\1\0WEBP",
    "bmp": b"BM\x10\x20\0\0\0\0\0\0",
    "avif": b"\0\0\0\x20ftypavif",
}


def encoded(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


@pytest.mark.long
@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{encoded(BOOK)}"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": encoded(BOOK)}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": BOOK}},
        {"type": "file", "file": {"file_data": "data:text/plain," + BOOK.replace(" ", "%20")}},
        {"type": "file", "file": {"file_data": f"data:image/png;base64,{encoded(BOOK)}"}},
        {"type": "image_url", "image_url": {"url": f"data:text/plain;base64,{encoded(BOOK)}"}},
        {"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{encoded('<svg>' + BOOK)}"}},
        {"type": "image_url", "image_url": {"url": encoded(BOOK)}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": BOOK}},
        {"type": "input_file", "file_url": "https://example.com/" + BOOK},
    ],
)
def test_text_in_an_attachment_is_held_and_counted_as_text(part):
    body = {"messages": [{"role": "user", "content": [part]}]}
    as_text = usage_meter.estimate_prompt_tokens({"messages": [{"role": "user", "content": BOOK}]})
    assert as_text > 300_000
    assert 0.99 * as_text <= usage_meter.estimate_prompt_tokens(body) <= 1.4 * as_text
    counted = usage_meter.count_prompt_tokens(body, count_tokens=lambda text: len(text.split()))
    assert counted >= 0.98 * len(BOOK.split())


@pytest.mark.parametrize("media", PICTURES)
def test_picture_has_the_tokens_of_a_picture_whatever_its_size(media):
    data = encoded(PICTURES[media] + bytes(500_000))
    for value in (f"data:image/{media};base64,{data}", data, "data:IMAGE/X;BASE64," + data):
        assert attachments.estimate_tokens(value, part="image_url") == attachments.MIN_TOKENS
    # A part of another kind without a media type may be anything.
    assert attachments.estimate_tokens(data, part="file") > 100_000


@pytest.mark.parametrize("start", ["BMW makes cars. ", "GIF is a format. ", "II. ", "RIFF and WEBP. "])
def test_text_that_begins_almost_like_a_picture_is_text(start):
    value = f"data:image/png;base64,{encoded(start + BOOK)}"
    assert attachments.estimate_tokens(value, part="image_url") > 300_000


@pytest.mark.parametrize(
    ("part", "value", "tokens"),
    [
        # A minute of speech in WAV (16 kHz) and in MP3 (64 kbit/s).
        ("input_audio", encoded(b"RIFF\0\0\0\0WAVE" + bytes(1_920_000)), 7_680),
        ("input_audio", encoded(b"ID3" + bytes(480_000)), 1_920),
        ("file", "data:audio/mpeg;base64," + encoded(bytes(480_000)), 1_920),
        ("video_url", "data:video/mp4;base64," + encoded(bytes(15_000_000)), 15_789),
        ("input_audio", encoded(b"ID3"), attachments.MIN_TOKENS),
    ],
)
def test_sound_and_video_are_held_by_their_bytes(part, value, tokens):
    assert attachments.estimate_tokens(value, part=part) == pytest.approx(tokens, rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize(
    "value", ["https://example.com/a.png", "file-abc123", "", "data:", "data:,", "data:;base64,", "="]
)
@pytest.mark.parametrize("part", attachments.PARTS)
def test_address_or_id_has_the_tokens_of_a_picture(part, value):
    assert attachments.estimate_tokens(value, part=part) == attachments.MIN_TOKENS


def test_what_is_no_text_is_not_counted_as_one():
    for value in ("https://example.com/a.png", "file-abc", encoded(b"%PDF-1.7\xff\xfe"), encoded(b"a\0b")):
        assert attachments.text_in(value, part="file") is None
    assert attachments.text_in(encoded("words"), part="input_audio") is None
    assert attachments.text_in(f"data:text/plain;base64,{encoded('wörds')}", part="file") == "wörds"


def test_base64_of_any_form_is_read():
    for text in ("a", "ab", "abc", "ûÿ?>" * 9):
        plain = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        assert attachments.text_in("data:text/plain;base64," + plain[:5] + "\r\n" + plain[5:], part="file") == text
