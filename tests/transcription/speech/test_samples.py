import subprocess
import sys
from pathlib import Path

import pytest

from transcription.speech import samples

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("milliseconds", "count"), [(0, 0), (1, 16), (1_000, 16_000), (36_000_000, 576_000_000)])
def test_milliseconds_and_samples_are_two_measures_of_one_length(milliseconds, count):
    assert samples.ms_to_samples(milliseconds) == count
    assert samples.samples_to_ms(count) == milliseconds


def test_incomplete_millisecond_is_dropped():
    assert samples.samples_to_ms(31) == 1


def test_numpy_is_not_imported():
    program = "import sys; from transcription.speech import samples; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=PROJECT)
    assert ran.stdout.strip() == "False"


def test_no_other_module_states_the_sample_rate():
    """A second copy of the rate would go unnoticed until one of them changes."""
    # What the clients of /asr send without a header, and the rates that MPEG knows.
    of_others = [PROJECT / "transcription/dialects/asr/wire.py", PROJECT / "transcription/speech/signatures.py"]
    product = set((PROJECT / "transcription").rglob("*.py")) - {Path(samples.__file__), *of_others}
    assert product
    assert [path.name for path in product if "16_000" in path.read_text() or "16000" in path.read_text()] == []
