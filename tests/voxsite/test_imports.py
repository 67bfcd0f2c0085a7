"""The web process stays light: whatever is slow or heavy to load lives in the engine or the worker."""

import subprocess
import sys

import pytest
from django.conf import settings

HEAVY = ("torch", "faster_whisper", "ctranslate2", "pocketsphinx", "scipy", "onnxruntime", "kaldi_native_fbank", "lxml")


@pytest.mark.long
def test_web_process_imports_no_speech_library():
    """Loads everything that a request can load: the application, all URLs, and the modules named in them."""
    program = (
        "import sys, voxsite.asgi; from django.urls import get_resolver; "
        "[p for p in get_resolver().reverse_dict]; get_resolver().url_patterns; "
        "from drf_spectacular.generators import SchemaGenerator; SchemaGenerator().get_schema(public=True); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().splitlines()[-1] == "[]"
