"""Plain technical English: none of the phrases at which a reader stops, in pages, comments, messages and test names."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.generate_docs import PAGES, ROOT

READ = (
    "README.md", "CHANGELOG.md", "docs", ".github", ".ci", "deploy", "Dockerfile", "Makefile", "docker-compose.yml",
    "pyproject.toml", "authz", "tests/support",
)  # fmt: skip
"""The files, and the folders with everything in them."""

REFUSED = re.compile(
    r"\b([Ww]hoever|[Ww]homever|[Nn]obody|NOBODY|[Tt]old|to be had|is none|[Hh]e|[Hh]im|[Hh]is|[Hh]imself)\b"
)
"""Subjects that do nothing, `told` for logged or reported, `is none` for is invalid, and processes called *he*."""

LEFT = ("**Room.**", "**Turns.**", "## Limits")
"""Where paragraphs or sections of docs/revocation.md begin that are being rewritten."""


def files(roots: tuple[str, ...] = READ) -> list[str]:
    """Every text file of the roots, without the pages that are made from the code."""
    found = [
        path for root in roots for path in ([ROOT / root] if (ROOT / root).is_file() else (ROOT / root).rglob("*"))
    ]
    names = {str(path.relative_to(ROOT)) for path in found if path.is_file() and path.suffix != ".pyc"}
    return sorted(names - set(PAGES))


def prose(name: str) -> Iterator[tuple[int, str]]:
    """The prose of a file, by line: of Python comments, docstrings and strings of several words; else everything."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".py"):
        return prose_of_python(text)
    if name == "docs/revocation.md":
        text = re.sub(rf"^({'|'.join(map(re.escape, LEFT))})(.|\n(?!\n)|\n\n(?=[^*#]))*", "", text, flags=re.MULTILINE)
    return enumerate(text.splitlines(), 1)


def prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Comments, docstrings, and strings of several words."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("name", files())
def test_file_has_none_of_the_refused_phrases(name: str) -> None:
    """Each with its line, and what to write instead in .github/CONTRIBUTING.md."""
    assert [(number, match[0]) for number, line in prose(name) for match in REFUSED.finditer(line)] == []


TESTS = sorted(
    path
    for path in set((ROOT / "tests").rglob("*.py")) - set((ROOT / "tests" / "support").rglob("*.py"))
    if "node_modules" not in path.parts
)
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_docstrings_of_tests_have_none_of_them(path: Path) -> None:
    """A test's name says a fact, and its docstring states it whole: a reader who is sent there needs both."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, DOCUMENTED)]
    texts = [f"{getattr(node, 'name', '').replace('_', ' ')}. {ast.get_docstring(node) or ''}" for node in nodes]
    assert [text for text in texts if REFUSED.search(text)] == []


def test_refused_phrases_are_found_in_prose_alone() -> None:
    """In a comment, a docstring and a message; not in code, nor in a word of data."""
    text = '"""Told by him."""\nx = None  # whoever\nif x is None: raise ValueError("it is none")\ny = {"nobody": 1}\n'
    assert sorted(match[0] for _, line in prose_of_python(text) for match in REFUSED.finditer(line)) == [
        "Told", "him", "is none", "whoever",
    ]  # fmt: skip
