"""What the idle product takes: memory of all its processes, and the time and processor time until it is ready.

Usage: script/benchmark idle [OTHER] [--turns 3]

OTHER is a checkout of another build with its own `.venv`. Both are started in turn as `script/server` starts them, on
the embedded defaults and a fresh data folder, with PocketSphinx. Memory is the proportional set size, in which what
several processes share counts once (proc(5), `smaps_rollup`). The median of the turns is shown.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from script.benchmarks.measuring.builds import Build, running
from tests.product import PROJECT_DIR

# Then all have loaded what they load, and the first duties of the clock are done.
SETTLE_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    builds = {"this build": PROJECT_DIR} | ({"the other": chosen.other.resolve()} if chosen.other else {})
    figures: dict[str, list[Figures]] = {name: [] for name in builds}
    for _ in range(chosen.turns):
        for name, code in builds.items():
            with tempfile.TemporaryDirectory() as folder, running(code, Path(folder)) as build:
                figures[name].append(measured(build))
    print(f"{'':<28}" + "".join(f"{name:>14}" for name in builds))
    for what in ("ready_seconds", "processor_seconds", "mib"):
        medians = [statistics.median(getattr(turn, what) for turn in turns) for turns in figures.values()]
        ratio = f"{medians[0] / medians[1]:>8.2f}" if len(medians) > 1 else ""
        print(f"{what:<28}" + "".join(f"{figure:>14.1f}" for figure in medians) + ratio)
    print(
        "this build's MiB: " + ", ".join(f"{kind} {mib:.0f}" for kind, mib in figures["this build"][-1].by_kind.items())
    )


@dataclass(frozen=True)
class Figures:
    """Of one start. processor_seconds: used until it was ready. by_kind: MiB of the processes of each name."""

    ready_seconds: float
    processor_seconds: float
    by_kind: dict[str, float]

    @property
    def mib(self) -> float:
        return sum(self.by_kind.values())


def measured(build: Build) -> Figures:
    used = processor_seconds(build.process)
    time.sleep(SETTLE_SECONDS)
    by_kind: dict[str, float] = defaultdict(float)
    for process in [build.process, *build.process.children(recursive=True)]:
        words = " ".join(process.cmdline()).split()
        kind = words[-1] if "voxsite.serve.child" in words else "redis" if "redis" in words[0] else "supervisor"
        by_kind[kind] += process.memory_full_info().pss / 2**20
    return Figures(build.ready_seconds, used, dict(by_kind))


def processor_seconds(first: psutil.Process) -> float:
    """Return what a process and all below it have used, those that have ended included."""
    return sum(sum(process.cpu_times()[:4]) for process in [first, *first.children(recursive=True)])


if __name__ == "__main__":
    main()
