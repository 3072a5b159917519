"""Words that are converted without the library's help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_world import Run
from typer.core import TyperCommand
from typer.main import get_command

from authz.cli import VERBS, app, load
from authz.cli.parameters import NotPlainError, plain

WORDS = (
    "", " ", "-", "alice", "é\udcff", "0", "1", "00", "007", "-1", "+1", "1_0", "1.0", "٣",
    "9" * 18, "9" * 19, "9" * 5000, "required", "REQUIRED", "required ", "user", "key", "/", "/nowhere", ".", "true",
    "2030-01-01", "+90d", "someday",
)  # fmt: skip


def parameters(command: Any) -> Iterator[Any]:
    """Those of a command, and of all below it."""
    yield from command.params
    for each in getattr(command, "commands", {}).values():
        yield from parameters(each)


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_word_is_what_the_library_makes_of_it(verb: str | None, tmp_path: Path) -> None:
    """Every parameter of every verb, by every word; where the library refuses, nothing is converted."""
    unreadable = tmp_path / "nothing"
    context = TyperCommand("authz").make_context("authz", [])
    for parameter in parameters(get_command(app) if verb is None else load(verb)):
        many = parameter.multiple or parameter.nargs == -1
        for word in (*WORDS, str(unreadable), str(tmp_path)):
            value = [word, word] if many else word
            try:
                converted = plain(parameter.type_descriptor, value)
            except NotPlainError:
                continue
            by_library = parameter.get_runtime_param().coerce(value, param=parameter, ctx=context)
            assert type(converted) is type(by_library)
            if parameter.type_descriptor.parameter_info.parser is None:
                assert converted == by_library


def test_word_that_is_no_value_is_left_to_the_library() -> None:
    """One that is not plainly a number, a choice, or a file that can be read."""
    limit, enforcement = (
        next(each for each in parameters(load("user")) if each.name == name) for name in ("limit", "enforcement")
    )
    for parameter, word in ((limit, "0"), (limit, "-1"), (limit, "٣"), (enforcement, "Required"), (enforcement, "")):
        with pytest.raises(NotPlainError):
            plain(parameter.type_descriptor, word)


def test_mistake_keeps_its_sentence(acme: Run) -> None:
    """The library's, once."""
    for words, sentence in {
        ("user", "list", "acme", "--limit", "0"): "Input should be greater than or equal to 1",
        ("user", "list", "acme", "--limit", str(2**63)): "Input should be less than or equal to 9223372036854775807",
        ("user", "list", ""): "there is no organization",
        ("user", "list"): "missing argument 'ORGANIZATION'",
        ("user", "set", "acme", "alice", "--enforcement", "of"): "'of' is not one of 'off', 'observe', 'required'",
    }.items():
        done = acme(*words)
        assert done.code != 0
        assert sentence in done.err
