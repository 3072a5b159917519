"""Configurations in the manner of public ones: what is found in each is what its head explains, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.doctor_faults import rules_of

EXAMPLES = sorted((Path(__file__).parent / "examples").iterdir())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_nothing_else_is_found(path: Path) -> None:
    """No false alarm: each finding is explained; `?` is what was not understood."""
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# Written anew in the manner of https://\S+", text)
    explained = re.findall(r"^# finds (\S+): \S.{8,}$", text, re.MULTILINE)
    assert rules_of(text, path.name) == set(explained)


def test_there_are_twenty() -> None:
    """Of both proxies."""
    assert len(EXAMPLES) >= 20
    assert {path.name.partition("-")[0] for path in EXAMPLES} == {"envoy", "nginx"}
