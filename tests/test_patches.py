"""No test patches a constant of an app: what a test needs otherwise is an argument or a field, whose default it is.

A patched constant is a second interface that nobody sees: the module may not read it at its import, hand it to a
default, or rename it. Settings of Django are no constants; the fixture `settings` changes them.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "apex", "billing", "transcription", "voxsite")
# (test file, constant as the file names it) -> why it stays. No entry may be added: add an argument instead.
EXCEPTIONS = {
    ("tests/conftest.py", "registry.ENGINES"): "the place where an engine is plugged in, here the fake one",
    ("tests/conftest.py", "recognition.ENGINE_LANGUAGES"): "the languages of the engine that is plugged in",
    ("tests/transcription/speech/attacks.py", "zygote.HANDLERS"): "a process of its own, whose tasks are attacks",
    ("tests/transcription/jobs/test_search.py", "migration.BATCH_SIZE"): "a migration that has landed is never edited",
    (
        "tests/transcription/speech/engines/test_faster_whisper.py",
        "faster_whisper.hallucination.LOG_PROBABILITY_THRESHOLD",
    ): "a fault in the middle: no sound makes a model unsure of every decoding, and the threshold is Whisper's own",
}
CONSTANT = re.compile(r"_*[A-Z][A-Z0-9_]*")
# Defaults of arguments, which a patch would change for everybody.
DEFAULTS = ("__defaults__", "__kwdefaults__")
# An assignment in a program that a test hands to another process.
IN_PROGRAM = re.compile(r"^[ \t]*((?:[a-z_][a-z0-9_]*\.)+_*[A-Z][A-Z0-9_]+) *=[^=]", re.MULTILINE)


def patched(source: str) -> Iterator[str]:
    """Yield each constant that a file patches, dotted as it is named there. Those of other packages are left out."""
    tree = ast.parse(source)
    imported = dict(_imported(tree))
    for node in ast.walk(tree):
        for name in _changed(node, imported=imported):
            package = imported.get(name.split(".")[0], name.split(".")[0]).split(".")[0]
            # A name that is not imported is a variable of the test: it may be a module of an app.
            is_unknown = name.split(".")[0] not in (*imported, "settings")
            if package in (*APPS, "tests") or is_unknown:
                yield name


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name in the file, what it is imported from)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2


def _changed(node: ast.AST, *, imported: dict[str, str]) -> Iterator[str]:
    """Yield the dotted names of constants that one statement or call changes."""
    if isinstance(node, ast.Call):
        yield from _changed_by_call(node)
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
        for target in node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]:
            name = _dotted(target.value if isinstance(target, ast.Subscript) else target)
            # A fixture such as `settings` is no import.
            if "." in name and _is_constant(name) and name.split(".")[0] in imported:
                yield name
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
        yield from IN_PROGRAM.findall(node.value)


def _changed_by_call(call: ast.Call) -> Iterator[str]:
    """Yield what monkeypatch.setattr, delattr, setitem and delitem, setattr() or unittest.mock's patch change."""
    called = _dotted(call.func)
    verb = called if called in ("patch.object", "patch.dict") else called.split(".")[-1]
    first, second = (*call.args[:2], None, None)[:2]
    name = ""
    if (
        verb in ("setattr", "delattr", "patch.object")
        and isinstance(second, ast.Constant)
        and isinstance(second.value, str)
        and not isinstance(first, ast.Constant | ast.JoinedStr)
    ):
        name = f"{_dotted(first)}.{second.value}"
    elif verb in ("setattr", "delattr", "patch") and isinstance(first, ast.Constant | ast.JoinedStr):
        name = "".join(str(part.value) for part in ast.walk(first) if isinstance(part, ast.Constant)).lstrip(".")
    elif verb in ("setitem", "delitem", "patch.dict"):
        name = _dotted(first)
    if "." in name and _is_constant(name):
        yield name
    elif isinstance(first, ast.JoinedStr) and _is_constant(f".{name}"):
        yield f"tests.{name}"


def _is_constant(name: str) -> bool:
    last = name.rpartition(".")[2]
    return bool(CONSTANT.fullmatch(last)) or last in DEFAULTS


def _dotted(node: ast.AST | None) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def all_patched() -> set[tuple[str, str]]:
    paths = (path for path in (PROJECT / "tests").rglob("*.py") if path != Path(__file__).resolve())
    return {(path.relative_to(PROJECT).as_posix(), name) for path in paths for name in patched(path.read_text())}


@pytest.mark.long
def test_no_test_patches_a_constant_of_an_app() -> None:
    assert all_patched() - set(EXCEPTIONS) == set()


@pytest.mark.long
def test_exception_that_is_patched_no_more_is_struck_from_the_list() -> None:
    assert set(EXCEPTIONS) - all_patched() == set()


IMPORTS = (
    "import stripe\nfrom unittest.mock import patch\nfrom billing import usage\nfrom billing.usage import Report\n"
)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('monkeypatch.setattr(usage, "MAX_TAGS", 3)', ["usage.MAX_TAGS"]),
        ('patch_of_context.setattr(usage, "_MAX_TAGS", 3)', ["usage._MAX_TAGS"]),
        ('monkeypatch.setattr(usage.cache, "VERSION", 3)', ["usage.cache.VERSION"]),
        ('monkeypatch.setattr(Report, "ROWS", 3)', ["Report.ROWS"]),
        ('monkeypatch.setattr("billing.usage.MAX_TAGS", 3)', ["billing.usage.MAX_TAGS"]),
        ('monkeypatch.setattr(f"{__name__}.LARGE", 3)', ["tests.LARGE"]),
        ('monkeypatch.setattr(variable, "MAX_TAGS", 3)', ["variable.MAX_TAGS"]),
        ('monkeypatch.setattr(Report.__init__, "__kwdefaults__", {})', ["Report.__init__.__kwdefaults__"]),
        ('monkeypatch.setitem(usage.KINDS, "chat", 3)', ["usage.KINDS"]),
        ('patch("billing.usage.MAX_TAGS", 3)', ["billing.usage.MAX_TAGS"]),
        ('patch.object(usage, "MAX_TAGS", 3)', ["usage.MAX_TAGS"]),
        ('setattr(usage, "MAX_TAGS", 3)', ["usage.MAX_TAGS"]),
        ("usage.MAX_TAGS = 3", ["usage.MAX_TAGS"]),
        ('usage.KINDS["chat"] = 3', ["usage.KINDS"]),
        ("del usage.KINDS", ["usage.KINDS"]),
        ('PROGRAM = """\nfrom billing import usage\nusage.MAX_TAGS = 3\n"""', ["usage.MAX_TAGS"]),
        ('monkeypatch.setattr(stripe, "MAX_RETRIES", 3)', []),
        ('monkeypatch.setattr(usage, "lines", list)', []),
        ('monkeypatch.setenv("MAX_TAGS", "3")', []),
        ("settings.MAX_TAGS = 3", []),
        ('monkeypatch.setitem(settings.QUEUES, "URL", "")', []),
        ("assert usage.MAX_TAGS == 3", []),
    ],
)
def test_every_way_to_patch_is_known(code: str, names: list[str]) -> None:
    assert list(patched(f"{IMPORTS}{code}\n")) == names
