"""Estimates the tokens of files inside a chat request: pictures, sounds, videos, documents. Pure.

A file is held by its bytes. Only a picture has a flat number of tokens, and it is a picture only if its data begins as
pictures do: else the text of a book would be held as one, under the name of a picture.
"""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

# The types of message parts that are attachments, with what a part without a media type holds, and the fields of such a
# part that hold its data or its address. The type of the part makes an attachment, never the beginning of a text.
PARTS = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "input_video": "video",
    "file": "",
    "input_file": "",
    "document": "",
}
FIELDS = ("url", "data", "image_url", "audio_url", "video_url", "file_data", "file_url", "file_id")
# For a picture, and the least for everything else, such as an address. The bytes of a picture say nothing about its
# tokens, because providers scale it: to about 1,450 at most at OpenAI (GPT-4o, high detail) and 1,600 at Anthropic, to
# fewer at Gemini (their guides on images, read 2026-11-29).
MIN_TOKENS = 1_500
# Gemini has 32 tokens for a second of sound, the most of all that publish a number, and 263 for a second of video (its
# guides, read 2026-11-29). So speech of 64 kbit/s has 250 bytes for a token, and video of 2 Mbit/s has 950. The others
# are texts, and PDFs, which are mostly compressed text.
BYTES_PER_TOKEN = {"audio": 250, "video": 950}
BYTES_PER_TEXT_TOKEN = 3
# The beginnings of PNG, JPEG, GIF, TIFF and ICO. SVG is text, and counts as text.
PICTURE_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\1\0")
# AVIF and HEIC, behind "ftyp".
PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"hevc")
BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]*")
# As much of the data as shows whether it is base64.
BASE64_SAMPLE = 4096


def estimate_tokens(value: str, *, part: str) -> int:
    """Return an estimate of the tokens of an attachment, for the hold.

    value: its data (base64 with or without "data:" before it, or plain text), its address or its id.
    part: the type of the message part.
    """
    media, body, is_base64 = _read(value, part=part)
    if media == "image" and is_base64 and _is_picture(_decode(body[:64])):
        return MIN_TOKENS
    size_bytes = len(body) * 3 // 4 if is_base64 else len(body.encode("utf-8", "replace"))
    return max(MIN_TOKENS, -(-size_bytes // BYTES_PER_TOKEN.get(media, BYTES_PER_TEXT_TOKEN)))


def text_in(value: str, *, part: str) -> str | None:
    """Return the text of an attachment; None for an address, an id, and for everything that is no text."""
    media, body, is_base64 = _read(value, part=part)
    if media in BYTES_PER_TOKEN:
        return None
    if not is_base64:
        # An address has no blank.
        return body if value.startswith("data:") or any(letter.isspace() for letter in body) else None
    try:
        text = _decode(body).decode()
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text else None


def _read(value: str, *, part: str) -> tuple[str, str, bool]:
    """Return (main media type, data, is the data base64). RFC 2397 has the form of "data:" addresses."""
    if not value.startswith("data:"):
        is_base64 = value.isascii() and BASE64.fullmatch(value[:BASE64_SAMPLE]) is not None
        return PARTS.get(part, ""), value, is_base64
    head, _, body = value.partition(",")
    media = head.removeprefix("data:").partition("/")[0].lower()
    if head.lower().endswith(";base64") and body.isascii():
        return media, body, True
    return media, unquote_to_bytes(body).decode("utf-8", "replace"), False


def _decode(text: str) -> bytes:
    """Decode base64 with what clients leave out or add: padding, line ends, the alphabet for addresses."""
    plain = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        return b""


def _is_picture(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] in PICTURE_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    # The size of a BMP is followed by four zeros, and no text begins like this.
    return head.startswith(PICTURE_MARKS) or (head[:2] == b"BM" and head[6:10] == bytes(4))
