import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]


def confined(code: str, *, before: str = "") -> str:
    """Run code in a confined process and return what it prints."""
    program = f"""
import os, socket
from transcription.speech import confinement
confinement.load_libraries()
{before}
confinement.confine(memory_bytes=1 << 30, cpu_seconds=5)
try:
    {code}
except BaseException as error:
    print(type(error).__name__, getattr(error, "errno", ""))
else:
    print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("deed", "outcome"),
    [
        ("open('/etc/hostname')", "OSError 24"),
        ("socket.socket()", "OSError 24"),
        ("os.pipe()", "OSError 24"),
        ("os.dup(1)", "OSError 22"),
        ("bytearray(2 << 30)", "MemoryError"),
    ],
)
def test_confined_process_can_do_little(deed, outcome):
    assert confined(deed) == outcome


def test_confined_process_cannot_write(tmp_path):
    path = tmp_path / "loot"
    before = f"file = open({str(path)!r}, 'wb', buffering=0)"
    assert confined("file.write(b'x')", before=before) in {"OSError 27", ""}
    assert path.stat().st_size == 0
