"""What a test run says for .ci/run: which tests failed, as soon as each does, and why how many were skipped.

pytest's own lists come at its end, which a run that is killed by its time-out does not reach.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

# Tests that start pytest must not write into the file of the run that they belong to.
FAILED_TESTS = os.environ.pop("VOXSITE_FAILED_TESTS", "")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append the failed test's id to the file that VOXSITE_FAILED_TESTS names."""
    if report.failed:
        note(report.nodeid if report.when == "call" else f"{report.nodeid} ({report.when})")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Do the same for a file that could not be read."""
    if report.failed:
        note(f"{report.nodeid} (collection)")


def note(failed: str) -> None:
    if FAILED_TESTS and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(FAILED_TESTS).open("a") as file:
            file.write(f"{failed}\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say each reason for which tests were skipped once, with their number."""
    reasons = Counter(reason_of(report) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ").partition("\n")[0]
