"""What the documents for owners and developers say, against the tree."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# Stands for a name that the reader chooses, as in transcription/dialects/NAME/wire.py.
PLACEHOLDER = re.compile(r"\b(NAME|APP|VERSION)\b|_NAME\b")


def paths_in(text: str) -> set[str]:
    """Return the paths between backticks: words with a slash that do not begin with one, without arguments."""
    words = (code.split()[0] for code in re.findall(r"`([^`\n]+)`", text))
    return {word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|[\w.-]+/", word)}


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_that_is_named_exists(document: str) -> None:
    named = {path for path in paths_in((PROJECT / document).read_text()) if not PLACEHOLDER.search(path)}
    assert len(named) > 3
    assert not {path for path in named if not (PROJECT / path).exists()}


def test_newest_release_of_the_changelog_is_the_version_of_the_project() -> None:
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert releases[0] == project["version"]
    assert releases == sorted(releases, key=lambda release: [int(part) for part in release.split(".")], reverse=True)
