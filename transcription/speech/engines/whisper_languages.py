"""Languages and abilities of Whisper models, by their names. The web process uses it, which loads no model."""

from pathlib import Path

# code -> English name, in Whisper's order (openai/whisper, tokenizer.py, LANGUAGES; read 2026-11-20). ISO 639-1
# except for "haw", "yue", and "jw", which is Whisper's code for Javanese.
LANGUAGES: dict[str, str] = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
    "es": "Spanish",
    "ru": "Russian",
    "ko": "Korean",
    "fr": "French",
    "ja": "Japanese",
    "pt": "Portuguese",
    "tr": "Turkish",
    "pl": "Polish",
    "ca": "Catalan",
    "nl": "Dutch",
    "ar": "Arabic",
    "sv": "Swedish",
    "it": "Italian",
    "id": "Indonesian",
    "hi": "Hindi",
    "fi": "Finnish",
    "vi": "Vietnamese",
    "he": "Hebrew",
    "uk": "Ukrainian",
    "el": "Greek",
    "ms": "Malay",
    "cs": "Czech",
    "ro": "Romanian",
    "da": "Danish",
    "hu": "Hungarian",
    "ta": "Tamil",
    "no": "Norwegian",
    "th": "Thai",
    "ur": "Urdu",
    "hr": "Croatian",
    "bg": "Bulgarian",
    "lt": "Lithuanian",
    "la": "Latin",
    "mi": "Maori",
    "ml": "Malayalam",
    "cy": "Welsh",
    "sk": "Slovak",
    "te": "Telugu",
    "fa": "Persian",
    "lv": "Latvian",
    "bn": "Bengali",
    "sr": "Serbian",
    "az": "Azerbaijani",
    "sl": "Slovenian",
    "kn": "Kannada",
    "et": "Estonian",
    "mk": "Macedonian",
    "br": "Breton",
    "eu": "Basque",
    "is": "Icelandic",
    "hy": "Armenian",
    "ne": "Nepali",
    "mn": "Mongolian",
    "bs": "Bosnian",
    "kk": "Kazakh",
    "sq": "Albanian",
    "sw": "Swahili",
    "gl": "Galician",
    "mr": "Marathi",
    "pa": "Punjabi",
    "si": "Sinhala",
    "km": "Khmer",
    "sn": "Shona",
    "yo": "Yoruba",
    "so": "Somali",
    "af": "Afrikaans",
    "oc": "Occitan",
    "ka": "Georgian",
    "be": "Belarusian",
    "tg": "Tajik",
    "sd": "Sindhi",
    "gu": "Gujarati",
    "am": "Amharic",
    "yi": "Yiddish",
    "lo": "Lao",
    "uz": "Uzbek",
    "fo": "Faroese",
    "ht": "Haitian Creole",
    "ps": "Pashto",
    "tk": "Turkmen",
    "nn": "Norwegian Nynorsk",
    "mt": "Maltese",
    "sa": "Sanskrit",
    "lb": "Luxembourgish",
    "my": "Burmese",
    "bo": "Tibetan",
    "tl": "Tagalog",
    "mg": "Malagasy",
    "as": "Assamese",
    "tt": "Tatar",
    "haw": "Hawaiian",
    "ln": "Lingala",
    "ha": "Hausa",
    "ba": "Bashkir",
    "jw": "Javanese",
    "su": "Sundanese",
    "yue": "Cantonese",
}

# Models before large-v3 have no token for it (openai/whisper, release of 2023-11-06; read 2026-11-28).
CANTONESE = "yue"


def label(source: str) -> str:
    """Return the public name of a model: "large-v3" as it is, and the last part of a path or of a name on the hub."""
    return Path(source).name.removeprefix("faster-").removeprefix("whisper-") or source


def languages_of(name: str) -> frozenset[str]:
    """Return the languages of the model with this label.

    A model whose name ends in ".en" knows English only. Cantonese is known to version 3 and turbo; of a model with
    another name it is not claimed.
    """
    if name.endswith(".en"):
        return frozenset({"en"})
    knows_cantonese = "v3" in name or "turbo" in name
    return frozenset(LANGUAGES) - (frozenset() if knows_cantonese else {CANTONESE})


def translates(name: str, languages: frozenset[str] | None) -> bool:
    """Tell whether the model can translate. Turbo and distilled models were not trained to; English models need not."""
    return "turbo" not in name and "distil" not in name and languages != frozenset({"en"})
