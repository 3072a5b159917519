"""Words of a call that are converted without the library's help.

Typer converts every word by pydantic, whose import is a sixth of a start. What is plainly right is converted here, to
the same value; anything else, and so every mistake and its sentence, is left to typer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args, get_origin

_MAX_NUMBER: Final = 10**18


class NotPlainError(Exception):
    """The library must say what a word means, or what is wrong with it."""


def convert_plain_words(command: Any) -> None:
    """Let a command, and those below it, ask the library only about words that are not plainly right."""
    command.get_params = partial(_parameters, command.get_params)
    for each in getattr(command, "commands", {}).values():
        convert_plain_words(each)


def _parameters(by_library: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """Those of a command, among them the options that the library adds, such as `--help`."""
    parameters = by_library(context)
    for parameter in parameters:
        if not isinstance(parameter.process_value, partial):
            parameter.process_value = partial(_process, parameter, parameter.process_value)
    return parameters


def _process(parameter: Any, by_library: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if parameter.required and not value:
        return by_library(context, value)
    try:
        converted = plain(parameter.type_descriptor, value)
    except (NotPlainError, AttributeError):
        # Another version of the library may describe its parameters otherwise.
        return by_library(context, value)
    return converted if parameter.callback is None else parameter.callback(context, parameter, converted)


def plain(wanted: Any, value: Any) -> Any:
    """A value of the type that a parameter wants. Raises `NotPlainError`."""
    if get_origin(wanted.annotation) is list:
        return [_plain(get_args(wanted.annotation)[0], wanted.parameter_info, each) for each in value or ()]
    return value if value is None else _plain(wanted.annotation, wanted.parameter_info, value)


def _plain(kind: Any, info: Any, value: Any) -> Any:
    if not isinstance(value, str):
        # What a function has by default.
        if type(value) is kind:
            return value
    elif info.parser is not None:
        with suppress(Exception):
            return info.parser(value)
    elif kind is str:
        return value
    elif kind is Path and os.access(value, os.R_OK):
        return Path(value)
    elif kind is int and _is_number(value) and (info.min or 0) <= int(value) <= (info.max or _MAX_NUMBER):
        return int(value)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        with suppress(ValueError):
            return kind(value)
    raise NotPlainError


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < len(str(_MAX_NUMBER))
