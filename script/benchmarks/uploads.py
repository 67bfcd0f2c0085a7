"""How long a small upload takes: alone, behind four slow ones of its own organization, and of another one.

Usage: script/benchmark uploads [--turns 10] [--seconds 3600]

Starts the whole product with its embedded defaults. The slow file is a valid WebM of so many seconds of Opus in frames
of 2.5 ms, whose packets must be read one by one. The small file has 3 seconds. Small uploads are sent one after another
while all four slow ones are in flight: the time from POST to 201, median and maximum. The last lines say how long the
slow ones took alone and together.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import requests

from tests import product
from tests.fixtures import many_packets, recordings
from tests.product import Product

SLOW_COUNT = 4
SMALL = recordings.named("sentence-slt.wav").path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3600)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slow = many_packets.webm(Path(folder) / "slow.webm", seconds=chosen.seconds)
        site_folder = Path(folder) / "site"
        site_folder.mkdir()
        with product.running(site_folder, VOXSITE_RATE_UPLOADS="10000/minute") as site:
            busy = {"X-API-Key": site.new_key(owner="busy@example.com", dollars="1000")}
            other = {"X-API-Key": site.new_key(owner="other@example.com", dollars="1000")}
            submit(site, SMALL, headers=busy)  # the first one starts the process that reads files
            show("alone", [submit(site, SMALL, headers=busy) for _ in range(chosen.turns)])
            took = [submit(site, slow, headers=busy)]
            with ThreadPoolExecutor() as threads:
                for name, headers in (("behind four of its own organization", busy), ("behind four of another", other)):
                    uploads = [threads.submit(submit, site, slow, headers=busy) for _ in range(SLOW_COUNT)]
                    wait_until_all_wait(site)
                    times = []
                    while len(times) < chosen.turns and all_are_in_flight(uploads):
                        times.append(submit(site, SMALL, headers=headers))
                    show(name, times)
                    took.append(max(upload.result() for upload in uploads))
            size = slow.stat().st_size / 1e6
            print(f"slow file: {size:.0f} MB, {chosen.seconds} s of sound; alone {took[0]:.1f} s")
            print(f"the last of four: {took[1]:.1f} and {took[2]:.1f} s")


def submit(site: Product, path: Path, *, headers: dict[str, str]) -> float:
    """Return the seconds from POST to 201."""
    began = time.perf_counter()
    with path.open("rb") as file:
        answer = requests.post(f"{site.address}/v1/transcribe", headers=headers, files={"file": file}, timeout=1200)
    took = time.perf_counter() - began
    assert answer.status_code == 201, answer.text
    # The engine should not work on it beside the next measurement.
    requests.delete(f"{site.address}/v1/jobs/{answer.json()['job_id']}", headers=headers, timeout=60)
    return took


def wait_until_all_wait(site: Product) -> None:
    while len(list((site.folder / "uploads").iterdir())) < SLOW_COUNT:
        time.sleep(0.02)
    time.sleep(1)


def all_are_in_flight(uploads: "list[Future[float]]") -> bool:
    return not any(upload.done() for upload in uploads)


def show(name: str, times: list[float]) -> None:
    print(f"{name:40} p50 {statistics.median(times):6.2f} s  max {max(times):6.2f} s  of {len(times)}", flush=True)


if __name__ == "__main__":
    main()
