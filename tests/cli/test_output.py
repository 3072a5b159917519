"""How the command prints: data on stdout, prose on stderr, nothing that draws on the terminal."""

from __future__ import annotations

import pytest
from support.command_world import CA, LIFE, Run, write

LISTS = [
    ("org", "list"),
    ("anchor", "list"),
    ("intermediate", "list"),
    ("user", "list", "acme"),
    ("cert", "list"),
    ("crl", "list"),
]


@pytest.mark.parametrize("verb", LISTS, ids=lambda verb: verb[0])
def test_list_prints_a_table_or_json(acme: Run, verb: tuple[str, ...]) -> None:
    """Data on stdout, and nothing else."""
    assert acme(*verb).out.strip()
    rows = acme(*verb, "--json").data
    assert isinstance(rows, list)
    assert rows


@pytest.mark.parametrize("verb", [("org", "show", "acme"), ("user", "show", "acme", "alice"), ("cert", "show", "1")])
def test_show_prints_one_thing(acme: Run, verb: tuple[str, ...]) -> None:
    """A line a key, or an object."""
    assert acme(*verb).out.strip()
    assert isinstance(acme(*verb, "--json").data, dict)


def test_names_in_certificates_cannot_draw_on_the_terminal(acme: Run) -> None:
    """Controls and markup of a hostile subject are shown, not obeyed."""
    hostile = CA.leaf("x\x1b[31m[red]y\u202e", **LIFE)
    acme("cert", "add", "acme", write("hostile.pem", hostile.pem), "--user", "alice")
    for options in ((), ("--json",)):
        out = acme("cert", "list", *options).out
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "[red]" in acme("cert", "list").out
