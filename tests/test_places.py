"""Every module with a rule of its own has a test file at its path: a/b/c.py has tests/a/b/test_c.py."""

import ast
import io
import tokenize
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "billing", "apex", "transcription", "voxsite")
# Lines without imports, comments, docstrings and __all__. A module of fewer is wiring.
MAX_LINES_WITHOUT_TEST = 25
# Modules without a test file at their path, and why. No module may be added: write its test instead.
EXCEPTIONS = {
    "apex/types.py": "fields without a rule; `completions` and `relay` are tested with them",
    "transcription/urls.py": "addresses; tests of pages and tenancy call them",
    "voxsite/urls.py": "addresses; tests of views, tenancy and the OpenAPI document call them",
}
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Return the number of lines that have code, without imports, docstrings and the list of exported names."""
    tree = ast.parse(source)
    uncounted: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node) or _is_list_of_names(node):
            uncounted.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    counted: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            counted.update(range(token.start[0], token.end[0] + 1))
    return len(counted - uncounted)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_list_of_names(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(x, ast.Name) and x.id == "__all__" for x in node.targets)


def modules() -> dict[str, Path]:
    """Return the modules of all apps by their path in the project, without migrations."""
    found = (path for app in APPS for path in (PROJECT / app).rglob("*.py") if "migrations" not in path.parts)
    return {path.relative_to(PROJECT).as_posix(): path for path in found}


def place_of_test(module: str) -> Path:
    path = Path(module)
    return PROJECT / "tests" / path.parent / f"test_{path.name}"


def without_test() -> set[str]:
    return {
        name
        for name, path in modules().items()
        if not place_of_test(name).exists() and lines_of_code(path.read_text()) > MAX_LINES_WITHOUT_TEST
    }


def test_every_module_with_a_rule_has_a_test_at_its_path() -> None:
    assert without_test() - set(EXCEPTIONS) == set()


def test_exception_that_has_a_test_or_needs_none_is_struck_from_the_list() -> None:
    assert set(EXCEPTIONS) - without_test() == set()


def test_only_code_is_counted() -> None:
    source = '''
"""A docstring
of two lines."""

import os
from os import (
    path,
)

__all__ = [
    "run",
]


def run():
    """Run."""
    # A comment.
    return (
        path
    )
'''
    # "def", and the three lines of "return".
    assert lines_of_code(source) == 4
    assert lines_of_code('text = """one\ntwo"""\n') == 2
