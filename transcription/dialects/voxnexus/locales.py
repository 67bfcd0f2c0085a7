"""The most common locale of each language: `en` is answered as `en-US`. Pure."""

from __future__ import annotations

import re

# Regions by CLDR's likely subtags (unicode-org/cldr, common/supplemental/likelySubtags.xml, as of release 46). Where a
# code of Whisper is no longer one of BCP 47, the whole locale stands: jw is Javanese, which is jv now.
_LOCALES = (
    "af-ZA am-ET ar-EG as-IN az-AZ ba-RU be-BY bg-BG bn-BD bo-CN br-FR bs-BA ca-ES cs-CZ cy-GB da-DK de-DE el-GR "
    "en-US es-ES et-EE eu-ES fa-IR fi-FI fo-FO fr-FR gl-ES gu-IN ha-NG haw-US he-IL hi-IN hr-HR ht-HT hu-HU hy-AM "
    "id-ID is-IS it-IT ja-JP ka-GE kk-KZ km-KH kn-IN ko-KR la-VA lb-LU ln-CD lo-LA lt-LT lv-LV mg-MG mi-NZ mk-MK "
    "ml-IN mn-MN mr-IN ms-MY mt-MT my-MM ne-NP nl-NL nn-NO no-NO oc-FR pa-IN pl-PL ps-AF pt-BR ro-RO ru-RU sa-IN "
    "sd-PK si-LK sk-SK sl-SI sn-ZW so-SO sq-AL sr-RS su-ID sv-SE sw-TZ ta-IN te-IN tg-TJ th-TH tk-TM tl-PH tr-TR "
    "tt-RU uk-UA ur-PK uz-UZ vi-VN yi-UA yo-NG yue-HK zh-CN"
)
_LOCALE_OF = {locale.partition("-")[0]: locale for locale in _LOCALES.split()} | {"jw": "jv-ID"}


def locale_of(code: str) -> str:
    """Return the most common locale of a language code, the code itself where none is known."""
    return _LOCALE_OF.get(code, code)


def written(tag: str) -> str:
    """Return a language tag in its usual form: zh_hant_tw is zh-Hant-TW (RFC 5646, section 2.1.1)."""
    first, *rest = re.split(r"[-_]", tag.strip())
    parts = [part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part.lower() for part in rest]
    return "-".join([first.lower(), *parts])
