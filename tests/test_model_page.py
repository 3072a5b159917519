"""docs/model.md is true: no sentence of the model is left out, and what it names exists."""

from __future__ import annotations

import re

import pytest
from support.generate_docs import ROOT

SENTENCES = 20
"""Of the model's description and solution, the list of endpoints counted with the sentence that opens it."""

PAGE = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \d.*\|$", PAGE, re.MULTILINE)
]
SETTINGS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])})
TESTS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[4])})


def section(page: str, heading: str) -> str:
    """What stands below a heading of a page made from the code."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def test_no_sentence_is_left_out() -> None:
    """Each has a number, what it is here, and a test."""
    assert [int(row[0]) for row in ROWS] == list(range(1, SENTENCES + 1))
    assert all(row[1] and row[2] and re.search(r"`[^`]+::test_\w+`", row[4]) for row in ROWS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_exists(setting: str) -> None:
    """A verb with its options, a setting in its section, or a file that is shipped."""
    if setting.startswith("authz "):
        verb, _, option = setting.partition(" --")
        assert not option or f"--{option}" in section("command.md", verb)
    elif setting.startswith("["):
        heading, name = setting.split()
        assert f"| `{name}` |" in section("configuration.md", f"`{heading}`")
    else:
        assert (ROOT / setting).is_file()


@pytest.mark.parametrize("test", TESTS)
def test_test_exists(test: str) -> None:
    """By file and name."""
    path, _, name = test.partition("::")
    text = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)
