"""Names of recordings as customers see them. Pure."""

import re
import unicodedata

MAX_NAME_LENGTH = 200
# What a download leaves out of the name of a recording. Any other end, as in "12.05.2026 Board", is part of the name.
EXTENSION = re.compile(
    "3g2|3gpp?|aac|ac3|aif[cf]?|aiff|amr|ape|asf|au|avi|caf|dts|eac3|f4v|flac|flv|gsm|m2ts|m4[abv]|mka|mkv|mov|mp[234]|"
    "mpe?ga?|mpa|mts|mxf|og[agvx]|opus|qt|ra|rm|snd|spx|tak|ts|tta|vob|voc|w64|wave?|web[am]|wm[av]|wv",
    re.IGNORECASE,
)


def display_name(name: str) -> str:
    """Return a file name that is safe to show: its last part, in NFC, without control and direction characters.

    Directions (U+202E and friends) can make `exe.3pm` read as `mp3.exe`; slashes of both kinds are path parts.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    cleaned = visible(last).strip(". ")
    if len(cleaned) > MAX_NAME_LENGTH:
        stem, dot, extension = cleaned.rpartition(".")
        cleaned = f"{stem[: MAX_NAME_LENGTH - 12]}{dot}{extension[:11]}" if dot else cleaned[:MAX_NAME_LENGTH]
    return cleaned or "recording"


def visible(text: str) -> str:
    """Return a text on one line, in NFC, without control and direction characters, and with single blanks."""
    # Cc control, Cf format (bidi, zero width), Cs surrogates, Co private use, Cn unassigned, Zl/Zp line breaks.
    kept = "".join(
        " " if unicodedata.category(char) in {"Zl", "Zp"} else char
        for char in unicodedata.normalize("NFC", text)
        if unicodedata.category(char)[0] != "C"
    )
    return " ".join(kept.split())


def without_slashes(text: str) -> str:
    """Return a visible text with blanks for slashes of both kinds, so that no part of it is a folder."""
    return visible(text.replace("/", " ").replace("\\", " "))


def stem(title: str, *, otherwise: str) -> str:
    """Return what a file made of a recording is called, without an extension: "talk" for "talk.mp3".

    title: what people see. It is cleaned here too, since some titles were given before they were cleaned.
    otherwise: for a title of which nothing is left.
    """
    cleaned = without_slashes(title)
    first, _, extension = cleaned.rpartition(".")
    return (first if first and EXTENSION.fullmatch(extension) else cleaned) or otherwise
