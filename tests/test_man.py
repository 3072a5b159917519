"""The man pages say what the help says."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support.generate_docs import command_page
from support.generate_man import pages
from support.requirements import need

PAGES = dict(pages())


def test_command_and_each_verb_has_a_page() -> None:
    """The same as in docs/command.md."""
    headings = [line[3:] for line in command_page().splitlines() if line.startswith("## ")]
    assert list(PAGES) == [f"{heading.replace(' ', '-')}.1" for heading in headings]


@pytest.mark.parametrize("name", PAGES)
def test_page_has_nothing_that_a_formatter_would_take_for_its_own(name: str) -> None:
    """Only the macros of man(7) that are written, and no escape but those for hyphen, backslash and no character."""
    lines = PAGES[name].splitlines()
    assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= {".TH", ".SH", ".PP", ".TP", ".B"}
    assert set(PAGES[name].split("\\")[1:]) == {part for part in PAGES[name].split("\\")[1:] if part[0] in "-e&"}
    assert lines[1] == ".SH NAME"
    assert all(lines)


def test_page_lists_options_and_the_example() -> None:
    """Of the verb itself."""
    page = PAGES["authz-cert-add.1"].replace("\\-", "-")
    for words in ("--user", "--until", "FILE…", "Example: authz cert add acme", ".SH SEE ALSO\nauthz-cert(1)"):
        assert words in page


@pytest.mark.slow
def test_formatter_has_no_warning_about_any_page() -> None:
    """GNU roff, with all its warnings."""
    need("groff", found=shutil.which("groff") is not None)
    for roff in PAGES.values():
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-z", "-k"], input=roff, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
