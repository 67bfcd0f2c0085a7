"""README's section *Switches* against what the code reads through `voxsite.env`, name by name."""

import ast
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxsite import env, upstreams

PROJECT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("accounts", "apex", "billing", "transcription", "voxsite")
READERS = {
    name
    for name, reader in inspect.getmembers(env, inspect.isfunction)
    if reader.__module__ == env.__name__ and next(iter(inspect.signature(reader).parameters)) == "name"
}
# The supervisor and the test set these for its own processes; nobody else should.
INTERNAL = {
    "PGAPPNAME",
    "SUPERVISOR_PROCESS_NAME",
    "VOXSITE_ENGINE_SOCKET",
    "VOXSITE_STARTED_AT",
    "VOXSITE_SUPERVISOR_PID",
}
# Names that only Hugging Face's packages define.
FOREIGN = re.compile(r"HF_")
# What looks like a switch of this project in prose, shell and YAML.
OURS = re.compile(r"\b(?:VOXSITE|APEX|STRIPE|S3|SMTP)_[A-Z0-9_]*[A-Z0-9]\b")


def calls_of_readers(source: str) -> Iterator[ast.expr]:
    """Yield the first argument of every call of a reader: `env.text(...)` and its like."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "env"
            and node.func.attr in READERS
        ):
            yield node.args[0]


def names_of_files(source: str) -> Iterator[str]:
    """Yield the names that `env.secret` reads beside its own: a file that has the secret."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("env"), attr="secret"), args=[ast.Constant(name)]):
                yield f"{name}_FILE"


def names_past_the_readers(source: str) -> Iterator[str]:
    """Yield names that are read from `environ` or `os.environ` itself, by get, by [] or by in."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=mapping, attr="get" | "setdefault"), args=[ast.Constant(name), *_]):
                pass
            case ast.Subscript(value=mapping, slice=ast.Constant(name), ctx=ast.Load()):
                pass
            case ast.Compare(left=ast.Constant(name), ops=[ast.In() | ast.NotIn()], comparators=[mapping]):
                pass
            case _:
                continue
        if ast.unparse(mapping) in {"environ", "os.environ"}:
            yield name


def sources() -> Iterator[tuple[str, str]]:
    """Yield (path, text) of every module of the product but `env` itself."""
    modules = [PROJECT / "manage.py", *(path for app in PRODUCT for path in (PROJECT / app).rglob("*.py"))]
    for path in modules:
        if path != PROJECT / "voxsite" / "env.py":
            yield path.relative_to(PROJECT).as_posix(), path.read_text()


class Recording(dict[str, str]):
    """An environment in which everything is set, and which remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> str:
        self.asked.add(name)
        return "{}" if name.endswith("_MODEL_NAMES") else "http://localhost"


def names_of_upstreams() -> set[str]:
    """Return the names that `upstreams` puts together from a prefix and a number, by letting it read them."""
    environment = Recording()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", environment)
        upstreams.configured()
    return environment.asked


# Modules that put names together, and how to learn which.
PUT_TOGETHER = {"voxsite/upstreams.py": names_of_upstreams}


@pytest.fixture(scope="module")
def read() -> set[str]:
    """Every name that the product reads through a reader."""
    return names_in_code()


def names_in_code() -> set[str]:
    """Return every name that the product reads through a reader."""
    found: set[str] = set()
    for path, text in sources():
        found |= set(names_of_files(text))
        for argument in calls_of_readers(text):
            if isinstance(argument, ast.Constant):
                found.add(argument.value)
            else:
                assert path in PUT_TOGETHER, f"{path} reads {ast.unparse(argument)}: say in PUT_TOGETHER which names"
    return found.union(*(learn() for learn in PUT_TOGETHER.values()))


def names_in(text: str) -> set[str]:
    """Return the switches between backticks; a line with `..._N_...` says "N from 2 to 9" and means each of them."""
    found = set()
    for line in text.splitlines():
        numbers = re.search(r"N from (\d) to (\d)", line)
        for name in re.findall(r"`([A-Z][A-Z0-9_]{3,})`", line):
            if numbers and "_N_" in name:
                found |= {name.replace("_N_", f"_{n}_") for n in range(int(numbers[1]), int(numbers[2]) + 1)}
            else:
                found.add(name)
    return found


@pytest.fixture(scope="module")
def documented() -> set[str]:
    """Every name in README's section *Switches*."""
    section = (PROJECT / "README.md").read_text().split("\n## Switches\n")[1].split("\n## ")[0]
    return names_in(section)


def test_every_switch_that_is_read_is_in_the_readme(read: set[str], documented: set[str]) -> None:
    missing_in_readme = sorted(read - documented - INTERNAL)
    assert not missing_in_readme, f"not in README.md: {missing_in_readme}"


@pytest.mark.long
def test_every_switch_of_the_readme_is_read(read: set[str], documented: set[str]) -> None:
    read_nowhere = sorted(documented - read)
    assert not read_nowhere, f"in README.md, and nothing reads it: {read_nowhere}"


def test_internal_names_are_read_and_in_no_readme(read: set[str], documented: set[str]) -> None:
    assert read >= INTERNAL
    assert not documented & INTERNAL


@pytest.mark.long
def test_nothing_reads_another_switch_past_the_readers(read: set[str]) -> None:
    past = {
        (path, name) for path, text in sources() for name in names_past_the_readers(text) if not FOREIGN.match(name)
    }
    assert ("manage.py", "VOXSITE_ENV") in past
    assert sorted(one for one in past if one[1] not in read | {"DJANGO_SETTINGS_MODULE"}) == []


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/operations.md", "compose.yaml", "Dockerfile"]
)
def test_documents_name_no_switch_that_does_not_exist(document: str, read: set[str]) -> None:
    of_scripts = set(OURS.findall((PROJECT / "script" / "setup").read_text()))
    text = (PROJECT / document).read_text()
    named = {name for name in OURS.findall(text) if "_N_" not in name}
    assert named
    assert sorted(named - read - of_scripts) == []


def test_compose_hands_in_only_what_is_read(read: set[str]) -> None:
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    own = [service for service in compose["services"].values() if service.get("image") == "voxsite"]
    assert len(own) == 7
    handed_in = {name for service in own for name in service["environment"]}
    assert sorted(handed_in - read) == []
    # What is substituted is taken from the operator's .env, where the password of the database is the one name more.
    substituted = set(re.findall(r"\$\{([A-Z0-9_]+)", (PROJECT / "compose.yaml").read_text()))
    assert sorted(substituted - read - {"POSTGRES_PASSWORD"}) == []


def test_collector_sees_each_way_to_read() -> None:
    source = 'env.text("A"), env.json_value(name, default={}), env.with_query("B"), other.text("C")'
    assert [ast.unparse(argument) for argument in calls_of_readers(source)] == ["'A'", "name"]
    source = 'os.environ.get("A"), os.environ["B"], "C" in environ, fields.get("D"), os.environ.copy()'
    assert sorted(names_past_the_readers(source)) == ["A", "B", "C"]
