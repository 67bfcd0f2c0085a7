"""The counters of all web processes of a host, as one, for Prometheus: it reads whichever of them answers.

Each process counts in files of its own in a folder that all of them read (prometheus_client's multiprocess mode). Who
takes the place of a process that ended goes on with its files, so no count falls before all of web starts again.
A single process counts in its memory, and nothing here is used.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, values
from prometheus_client.core import REGISTRY, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# By which prometheus_client finds the folder.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_folder: Path | None = None


def join(folder: Path, *, number: int) -> None:
    """Count in files of this folder, as the process of this number. Call it before anything is counted."""
    global _folder  # noqa: PLW0603 - a fact of the process
    _folder = folder
    os.environ[FOLDER_VARIABLE] = str(folder)
    # As `get_value_class` of that module does with the variable, when it is imported. That was before the fork.
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: number)  # type: ignore[no-untyped-call]
    # At once: who reads it meanwhile finds the process before this one.
    partial = folder / f"{number}.pid.partial"
    partial.write_text(str(os.getpid()))
    partial.replace(folder / f"{number}.pid")


def text() -> bytes:
    """Return the counters of the web of this host, in the format of Prometheus."""
    if _folder is None:
        return generate_latest(REGISTRY)
    counted = CollectorRegistry()
    counted.register(_Counts(_folder))
    counted.register(_Processes(_folder))
    return generate_latest(counted)


class _Counts(Collector):
    """What all web processes have counted.

    prometheus_client makes a file in two steps, and cannot read one that is still empty. A process that begins would
    fail the page, and one that was killed between the two steps would fail it for ever.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        made = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
        yield from MultiProcessCollector.merge(made)  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """What the operating system says of each web process: the usual metrics, with a label for its number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for file in sorted(self._folder.glob("*.pid")):
            for metric in _of_process(int(file.read_text())):
                merged = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    merged.add_sample(sample.name, {**sample.labels, "web_process": file.stem}, sample.value)
        yield from found.values()


def _of_process(pid: int) -> Iterable[Metric]:
    """Return what Linux says of a process: nothing, if it has ended."""
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
