"""The table of docs/doctor-mutants.md, beside what lint names today; `make mutants` compares the probes as well."""

from __future__ import annotations

import re
from functools import cache

import pytest
from support.doctor_mutants import Mutant, envoy_mutants, nginx_mutants
from support.doctor_mutants_table import PAGE, read_page

ROWS = read_page()


@cache
def mutants() -> dict[str, Mutant]:
    """All of them, by what was changed; it takes seconds."""
    return {mutant.what: mutant for mutant in (*envoy_mutants(), *nginx_mutants())}


def test_way_round_that_a_probe_showed_is_named() -> None:
    """Every one."""
    assert ROWS
    assert not [what for what, shown, named in ROWS if shown not in {"", "the proxy ends"} and not named]


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_table_counts_the_mutants_of_today(proxy: str) -> None:
    """Or the shipped configuration has changed since `make mutants`."""
    counted = re.search(rf"^## {proxy}\n\n(\d+) mutants", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert counted is not None
    assert int(counted[1]) == sum(each.proxy == proxy for each in mutants().values())


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_lint_names_what_the_table_says(proxy: str) -> None:
    """Of each mutant in it."""
    mine = [(what, named) for what, _, named in ROWS if mutants()[what].proxy == proxy]
    assert {what: mutants()[what].rules for what, _ in mine} == dict(mine)
