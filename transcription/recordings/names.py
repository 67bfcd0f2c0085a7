"""Names of recordings as customers see them. Pure."""

import unicodedata

MAX_NAME_LENGTH = 200


def display_name(name: str) -> str:
    """Return a file name that is safe to show: its last part, in NFC, without control and direction characters.

    Directions (U+202E and friends) can make `exe.3pm` read as `mp3.exe`; slashes of both kinds are path parts.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    # Cc control, Cf format (bidi, zero width), Cs surrogates, Co private use, Cn unassigned, Zl/Zp line breaks.
    kept = "".join(
        " " if unicodedata.category(char) in {"Zl", "Zp"} else char
        for char in last
        if unicodedata.category(char)[0] != "C"
    )
    cleaned = " ".join(kept.split()).strip(". ")
    if len(cleaned) > MAX_NAME_LENGTH:
        stem, dot, extension = cleaned.rpartition(".")
        cleaned = f"{stem[: MAX_NAME_LENGTH - 12]}{dot}{extension[:11]}" if dot else cleaned[:MAX_NAME_LENGTH]
    return cleaned or "recording"
