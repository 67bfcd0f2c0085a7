"""Reads the language field of a request: a two-letter code, a language tag such as en-US, or a three-letter code."""

from __future__ import annotations

import re
from collections.abc import Mapping

# What other services take for "detect the language".
DETECT = frozenset({"auto", "detect", "und"})

# Codes of the same language (IANA Language Subtag Registry: deprecated codes and macrolanguages; ISO 639-2: codes of
# three letters, bibliographic and terminological; read 2026-11-28) -> ours.
_SAME = {
    "iw": "he", "in": "id", "ji": "yi", "jv": "jw", "mo": "ro", "nb": "no", "fil": "tl", "cmn": "zh", "arb": "ar",
    "pes": "fa", "prs": "fa", "zsm": "ms", "swh": "sw", "ekk": "et", "lvs": "lv", "npi": "ne", "pbu": "ps", "khk": "mn",
    "als": "sq", "azj": "az", "uzn": "uz", "plt": "mg", "ydd": "yi", "hbs": "sr", "pbt": "ps", "scr": "hr", "scc": "sr",
    "sh": "sr", "zlm": "ms", "swc": "sw",
    # Spoken Arabic, as FLORES-200 and models that follow it name it. Whisper knows one Arabic.
    "acm": "ar", "acq": "ar", "aeb": "ar", "ajp": "ar", "apc": "ar", "ars": "ar", "ary": "ar", "arz": "ar",
}  # fmt: skip
_THREE_LETTERS = (
    "af:afr am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben bo:bod,tib br:bre bs:bos ca:cat cs:ces,cze "
    "cy:cym,wel da:dan de:deu,ger el:ell,gre en:eng es:spa et:est eu:eus,baq fa:fas,per fi:fin fo:fao fr:fra,fre "
    "gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye,arm id:ind is:isl,ice it:ita ja:jpn jw:jav "
    "ka:kat,geo kk:kaz km:khm kn:kan ko:kor la:lat lb:ltz ln:lin lo:lao lt:lit lv:lav mg:mlg mi:mri,mao mk:mkd,mac "
    "ml:mal mn:mon mr:mar ms:msa,may mt:mlt my:mya,bur ne:nep nl:nld,dut nn:nno no:nor,nob oc:oci pa:pan pl:pol "
    "ps:pus pt:por ro:ron,rum ru:rus sa:san sd:snd si:sin sk:slk,slo sl:slv sn:sna so:som sq:sqi,alb sr:srp su:sun "
    "sv:swe sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl tr:tur tt:tat uk:ukr ur:urd uz:uzb vi:vie yi:yid yo:yor "
    "zh:zho,chi"
)
# Other languages of China, which a tag may name behind "zh" (RFC 5646, section 2.2.2). Whisper knows Cantonese only.
_OTHER_CHINESE = frozenset({"wuu", "nan", "min", "hak", "hakka", "gan", "hsn", "xiang", "cdo", "mnp", "cjy"})
for _entry in _THREE_LETTERS.split():
    _code, _, _longer = _entry.partition(":")
    _SAME.update(dict.fromkeys(_longer.split(","), _code))


def code_of(tag: str, *, known: frozenset[str]) -> str | None:
    """Return the code in `known` that a tag names, None if there is none.

    A region or script after the language is ignored: en-US, en_us and eng are en. Only Cantonese is written in three
    ways: yue, zh-yue, and zh-HK, which speech services use for it. Where it is not known, zh-HK is Chinese.
    """
    # Names of locales on Linux go on with a character set or a variant: en_US.UTF-8, sr_RS@latin.
    parts = re.split("[.@]", tag.strip().lower(), maxsplit=1)[0].replace("_", "-").split("-")
    if not all(part.isascii() and part.isalnum() and len(part) <= 8 for part in parts):
        return None
    if parts[0] in ("zh", "zho", "chi") and ("yue" in parts[1:] or "hk" in parts[1:]):
        if "yue" in known:
            return "yue"
        if "yue" in parts[1:]:
            return None
    if parts[0] in ("zh", "zho", "chi") and _OTHER_CHINESE & {*parts[1:]}:
        return None
    code = _SAME.get(parts[0], parts[0])
    return code if code in known else None


def suggestion(text: str, *, known: frozenset[str], names: Mapping[str, str]) -> str | None:
    """Return the code of a language that is written as its English name, None if it is no such name."""
    wanted = text.strip().casefold()
    return next((code for code, name in names.items() if code in known and name.casefold() == wanted), None)
