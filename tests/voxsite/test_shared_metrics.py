"""What Prometheus is told of several processes that count together."""

import os
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.product import PROJECT_DIR
from voxsite import request_metrics, shared_metrics

# Joins as the process of the first argument's number, counts as often as the second says, and prints what is told.
PROGRAM = """
import sys
from pathlib import Path
from prometheus_client import Counter, Histogram
from voxsite import shared_metrics
COUNTED = Counter("counted", "Counted.", ["by"])
SECONDS = Histogram("seconds", "Seconds.", ["by"], buckets=(1, 2))
folder, number, times = sys.argv[1:]
shared_metrics.join(Path(folder), number=int(number))
for _ in range(int(times)):
    COUNTED.labels("all").inc()
    SECONDS.labels("all").observe(1.5)
print(shared_metrics.text().decode())
"""


def told_by(folder, *, number, times):
    command = [sys.executable, "-c", PROGRAM, str(folder), str(number), str(times)]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60, check=True)
    samples = [s for family in text_string_to_metric_families(done.stdout) for s in family.samples]
    return {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}


@pytest.mark.long
def test_counts_are_sums_of_all_processes_and_never_fall(tmp_path):
    assert told_by(tmp_path, number=1, times=3)["counted_total", "all"] == 3
    found = told_by(tmp_path, number=2, times=2)
    assert found["counted_total", "all"] == 5
    assert (found["seconds_bucket", "1.0", "all"], found["seconds_bucket", "2.0", "all"]) == (0, 5)
    assert found["seconds_sum", "all"] == 7.5
    # The first of the two ended, and is followed by another one.
    assert told_by(tmp_path, number=1, times=1)["counted_total", "all"] == 6


@pytest.mark.long
def test_memory_of_each_process_that_lives_is_told_with_its_number(tmp_path):
    (tmp_path / "1.pid").write_text(str(os.getpid()))
    told_by(tmp_path, number=3, times=0)
    found = told_by(tmp_path, number=2, times=0)
    assert {key for key in found if key[0] == "process_resident_memory_bytes"} == {
        ("process_resident_memory_bytes", "1"),
        ("process_resident_memory_bytes", "2"),
    }
    assert found["process_resident_memory_bytes", "1"] != found["process_resident_memory_bytes", "2"]


# Forks process after process, each of which joins and counts in files of its own.
BEGINNERS = """
import os, sys
from pathlib import Path
from prometheus_client import Counter
from voxsite import shared_metrics
COUNTED = Counter("counted", "Counted.", ["by"])
number = 10
while True:
    number += 1
    if not os.fork():
        for _ in range(20):
            shared_metrics.join(Path(sys.argv[1]), number=10)
        shared_metrics.join(Path(sys.argv[1]), number=number)
        COUNTED.labels("all").inc()
        os._exit(0)
    os.wait()
"""


@pytest.mark.long
def test_counts_are_told_while_other_processes_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_metrics, "_folder", tmp_path)
    with subprocess.Popen([sys.executable, "-c", BEGINNERS, str(tmp_path)], cwd=PROJECT_DIR) as beginners:
        try:
            ends_at = time.monotonic() + 60
            while len(list(tmp_path.glob("*.db"))) < 30:
                shared_metrics.text()
                assert time.monotonic() < ends_at
        finally:
            beginners.kill()


def test_file_of_a_process_that_was_killed_while_it_made_it_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "counter_7.db").touch()
    monkeypatch.setattr(shared_metrics, "_folder", tmp_path)
    assert shared_metrics.text() == b""


def test_single_process_tells_what_it_counted():
    request_metrics.REQUESTS.labels("alone", "GET", "200").inc()
    told = shared_metrics.text().decode()
    assert 'voxsite_http_requests_total{method="GET",status="200",view="alone"} 1.0' in told
    assert "process_resident_memory_bytes " in told
