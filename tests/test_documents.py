"""What the documents for owners and developers say, against the tree."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def test_newest_release_of_the_changelog_is_the_version_of_the_project() -> None:
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert releases[0] == project["version"]
    assert releases == sorted(releases, key=lambda release: [int(part) for part in release.split(".")], reverse=True)
