"""What the documents for owners and developers say, against the tree: paths, modules, names, links, decisions."""

import ast
import functools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "billing", "apex", "transcription", "voxsite")
DECISIONS = sorted((PROJECT / "docs/decisions").glob("[0-9]*.md"))
DOCUMENTS = [
    *sorted(PROJECT.glob("*.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted((PROJECT / "transcription/dialects").glob("*/README.md")),
    *sorted((PROJECT / "findings").glob("*.md")),
]
# A changelog names what there was.
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
HEADINGS = ["Status", "Date", "Context", "Decision", "Consequences"]
# Stands for a name that the reader chooses, as in transcription/dialects/NAME/wire.py.
PLACEHOLDER = re.compile(r"\b(NAME|APP|VERSION|FILE|FOLDER)\b|_NAME\b")
# Modules that every app has, and that the tree of ARCHITECTURE.md mentions once for all.
IN_EVERY_APP = {"__init__", "__main__", "apps", "urls", "page_urls"}
# Files that are no modules, although the first part of their name may be one.
SUFFIXES = (".py", ".md", ".html", ".sock", ".yaml", ".json", ".txt", ".mp3", ".rttm", ".conf")
# Packages of others whose first part is also the name of a module here.
FOREIGN = {"pyannote.audio", "pyannote.metrics"}


def name_of(document: Path) -> str:
    return str(document.relative_to(PROJECT))


def inline_code(text: str) -> list[str]:
    """Return what stands between single backticks, without fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S))


def paths_in(text: str) -> set[str]:
    """Return the paths that a document names.

    These are words between backticks that end in .py, .md, .html or a slash, or begin with a folder of this project;
    and the scripts in fenced blocks. Addresses, which begin with a slash, are none.
    """
    words = {code.split()[0].removeprefix("./") for code in inline_code(text)}
    words = {word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word)}
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()}
    named = {
        word
        for word in words
        if word.endswith((".py", ".md", ".html", "/")) or ("/" in word and word.split("/")[0] in folders)
    }
    named |= set(re.findall(r"^(script/\w+|\.ci/\w+)", text, re.M))
    return {path for path in named if not PLACEHOLDER.search(path)}


def is_there(path: str, *, document: Path) -> bool:
    if "/" not in path.rstrip("/"):
        # A name alone, such as `wire.py`: one of its kind must exist.
        return (PROJECT / path).exists() or any(file.name == path for file in project_files())
    return (PROJECT / path).exists() or (document.parent / path).exists()


@functools.cache
def project_files() -> tuple[Path, ...]:
    roots = [*(PROJECT / app for app in APPS), PROJECT / "tests", PROJECT / "docs", PROJECT / "templates"]
    return tuple(path for root in roots for path in root.rglob("*") if path.suffix in {".py", ".md", ".html"})


@functools.cache
def modules() -> dict[str, list[Path]]:
    """Return the files of a module by its dotted path and by each end of it: "billing.ledger.holds", "holds"."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in project_files():
        if path.suffix != ".py" or path.relative_to(PROJECT).parts[0] not in APPS:
            continue
        parts = path.relative_to(PROJECT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        for start in range(len(parts)):
            found[".".join(parts[start:])].append(path)
    return found


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names that a module defines or imports at its top level."""
    return frozenset(_defined(ast.parse(path.read_text()).body))


@functools.cache
def classes() -> dict[str, frozenset[str]]:
    """Return the attributes and methods of every class of this project, by its name."""
    found: dict[str, set[str]] = defaultdict(set)
    for paths in modules().values():
        for path in paths:
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    found[node.name] |= set(_defined(node.body))
    return {name: frozenset(names) for name, names in found.items()}


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def has_name(dotted: str) -> bool | None:
    """Tell whether `module.name`, `Class.name` or a dotted module exists. None where it is none of these."""
    if dotted in modules():
        return True
    first, _, last = dotted.rpartition(".")
    if first in modules():
        return any(last in names_in(path) for path in modules()[first])
    kind, _, rest = dotted.partition(".")
    if kind in classes() and kind[0].isupper():
        return rest.split(".")[0] in classes()[kind]
    if kind in APPS:
        return False
    return None


@pytest.mark.long
@pytest.mark.parametrize("document", CURRENT, ids=name_of)
def test_every_path_that_is_named_exists(document: Path) -> None:
    named = paths_in(document.read_text())
    assert {path for path in named if not is_there(path, document=document)} == set()


@pytest.mark.long
@pytest.mark.parametrize("document", CURRENT, ids=name_of)
def test_every_function_that_is_named_exists(document: Path) -> None:
    named = {code.split("(")[0] for code in inline_code(document.read_text())}
    dotted = {name for name in named if re.fullmatch(r"\w+(\.\w+)+", name) and not PLACEHOLDER.search(name)}
    dotted = {name for name in dotted - FOREIGN if not name.endswith(SUFFIXES)}
    assert {name for name in dotted if has_name(name) is False} == set()


def test_a_name_that_is_gone_would_be_found() -> None:
    assert has_name("jobs.submit") is True
    assert has_name("jobs.order") is False
    assert has_name("billing.cards") is False
    assert has_name("TranscribeView.post") is True
    assert has_name("TranscribeView.put") is False
    assert has_name("checkout.session") is None
    text = "`billing/cards.py`, `wire.py --help`, `/v1/jobs`, `text/plain`\n```\nscript/sell it\n```\n"
    assert paths_in(text) == {"billing/cards.py", "wire.py", "script/sell"}


@pytest.mark.long
@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    relative = {link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)}
    assert {link for link in relative if not (document.parent / link).exists()} == set()


def test_tree_of_the_architecture_names_every_module_and_no_other() -> None:
    assert set(_drawn_modules()) == set(_real_modules())


def _drawn_modules() -> Iterator[str]:
    """Yield the modules of the tree in ARCHITECTURE.md by dotted path.

    A line is a folder with its description, or modules of the folder above it and what they do behind a "#".
    """
    text = (PROJECT / "ARCHITECTURE.md").read_text()
    tree = text.split("## Tree", 1)[1].split("```", 2)[1]
    folders: list[tuple[int, str]] = []
    for line in tree.strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        folders = [folder for folder in folders if folder[0] < indent]
        first = line.split()[0]
        if first.endswith("/"):
            folders.append((indent, first.rstrip("/")))
        else:
            yield from (".".join([name for _, name in folders] + [module]) for module in line.partition("#")[0].split())


def _real_modules() -> Iterator[str]:
    for app in APPS:
        for path in (PROJECT / app).rglob("*.py"):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            if parts[-1] not in IN_EVERY_APP and not {"migrations", "management", "sandbox"} & set(parts):
                yield ".".join(parts)


@pytest.mark.long
def test_list_of_modules_is_what_their_docstrings_say() -> None:
    """`python -m tests.test_documents > docs/modules.md` writes the list again."""
    assert (PROJECT / "docs/modules.md").read_text() == list_of_modules()


def list_of_modules() -> str:
    """Return docs/modules.md: the first sentence of each module, by folder."""
    folders: dict[str, list[str]] = defaultdict(list)
    for module in sorted(_real_modules()):
        folder, _, name = module.replace(".", "/").rpartition("/")
        docstring = ast.get_docstring(ast.parse((PROJECT / f"{folder}/{name}.py").read_text())) or ""
        first = " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
        folders[folder].append(f"| `{name}` | {first} |")
    head = "# Modules\n\nThe first paragraph of each module. Where to start: [ARCHITECTURE.md](../ARCHITECTURE.md).\n"
    tables = (
        f"\n## {folder}\n\n| module | |\n| --- | --- |\n" + "\n".join(rows) + "\n" for folder, rows in folders.items()
    )
    return head + "".join(tables)


@pytest.mark.long
@pytest.mark.parametrize("document", DECISIONS, ids=name_of)
def test_decision_has_its_headings_and_its_line_in_the_index(document: Path) -> None:
    text = document.read_text()
    number = int(document.name[:4])
    title = text.splitlines()[0].removeprefix(f"# {number}. ")
    assert title != text.splitlines()[0]
    assert re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    sections = dict(re.findall(r"^## (\w+)\n\n(.+)$", text, re.M))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", sections["Date"])
    index = (document.parent / "README.md").read_text()
    status = re.match(r"\w+", sections["Status"])
    assert status is not None
    assert f"| {number} | [{title}]({document.name}) | {status[0].lower()} |" in index


def test_index_of_decisions_leaves_out_no_number() -> None:
    index = (PROJECT / "docs/decisions/README.md").read_text()
    listed = [int(number) for number in re.findall(r"^\| (\d+) \|", index, re.M)]
    assert listed == list(range(1, len(listed) + 1))
    written = sorted(int(path.name[:4]) for path in (PROJECT / "docs/decisions").glob("0*.md"))
    assert set(written) <= set(listed)


def test_newest_release_of_the_changelog_is_the_version_of_the_project() -> None:
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert releases[0] == project["version"]
    assert releases == sorted(releases, key=lambda release: [int(part) for part in release.split(".")], reverse=True)


if __name__ == "__main__":
    print(list_of_modules(), end="")
