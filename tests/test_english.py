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


def files(root: str) -> list[str]:
    """The file, or every text file of the folder, without the pages that are made from the code."""
    below = [ROOT / root] if (ROOT / root).is_file() else (ROOT / root).rglob("*")
    names = {str(path.relative_to(ROOT)) for path in below if path.is_file() and path.suffix != ".pyc"}
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
    if REFUSED.search(text):  # a comment stands whole in the text, and to find comments takes long
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


@pytest.mark.parametrize("root", READ)
@pytest.mark.slow
def test_file_has_none_of_the_refused_phrases(root: str) -> None:
    """Each with its file and line, and what to write instead in .github/CONTRIBUTING.md."""
    assert [
        (name, number, match[0])
        for name in files(root)
        for number, line in prose(name)
        for match in REFUSED.finditer(line)
    ] == []


TESTS = sorted(
    path
    for path in set((ROOT / "tests").rglob("*.py")) - set((ROOT / "tests" / "support").rglob("*.py"))
    if "node_modules" not in path.parts
)
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


@pytest.mark.slow
def test_names_and_docstrings_of_tests_have_none_of_them() -> None:
    """A test's name says a fact, and its docstring states it whole: a reader who is sent there needs both."""
    assert [(path, text) for path in TESTS for text in said_of_tests(path) if REFUSED.search(text)] == []


def said_of_tests(path: Path) -> list[str]:
    """The names of a file's tests and helpers, each with its docstring; of a file that has no such phrase, nothing."""
    text = path.read_text(encoding="utf-8")
    if not REFUSED.search(text.replace("_", " ")):  # to parse takes long
        return []
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, DOCUMENTED)]
    return [f"{getattr(node, 'name', '').replace('_', ' ')}. {ast.get_docstring(node) or ''}" for node in nodes]


def test_refused_phrases_are_found_in_prose_alone() -> None:
    """In a comment, a docstring and a message; not in code, nor in a word of data."""
    text = '"""Told by him."""\nx = None  # whoever\nif x is None: raise ValueError("it is none")\ny = {"nobody": 1}\n'
    assert sorted(match[0] for _, line in prose_of_python(text) for match in REFUSED.finditer(line)) == [
        "Told", "him", "is none", "whoever",
    ]  # fmt: skip
