"""Documents from files: YAML or JSON lines, a file or a folder of them, each value with the line it stands on.

YAML is read as a stream, and as plain data: no tags, no anchors, no aliases, no key twice. A scalar is a text, whatever
YAML 1.1 makes of `off` or `1e3`; `null`, `~` and nothing are None. A file whose first line is a JSON object has one
such object in each line.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import yaml

from authz.directory.texts import explained
from authz.errors import ConfigError
from authz.identity.strict_json import read_object

MAX_DOCUMENT: Final = 4 * 1024 * 1024
"""Bytes of one document: four times the largest certificate file."""

MAX_FILE: Final = 1024 * 1024
"""Bytes of a certificate file: the model's own limit."""

MAX_MESSAGE: Final = 1_000
"""Characters of what is said of one document."""

MAX_DEPTH: Final = 4
"""Collections within each other: a list in a mapping in a document makes three."""

SUFFIXES: Final = (".yaml", ".yml", ".json", ".jsonl")
"""The files of a folder that are read."""

Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, for errors."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class DocumentError(ConfigError):
    """A document, or what should be one, cannot be read; `place` says where.

    Of a message no more than `MAX_MESSAGE` characters are kept: it may quote what is as large as a document.
    """

    def __init__(self, place: Place, message: str, hint: str = "") -> None:
        super().__init__(message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…", hint=hint)
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {super().__str__()}"


@dataclass(slots=True)
class RawDocument:
    """The data of a document, where it begins, and the line of each value by its path."""

    data: dict[str, Any]
    place: Place
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)

    def at(self, path: tuple[str | int, ...]) -> Place:
        """Where the value at a path stands, or the nearest above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(self.place.file, self.lines.get(path, self.place.line))


class DocumentSource:
    """What is to be read: a file, a folder with all in it, or a stream (`-` is its name)."""

    def __init__(self, path: Path, stream: BinaryIO | None = None) -> None:
        self._path, self._stream = path, stream
        self.root = Path.cwd() if stream else path.absolute() if path.is_dir() else path.absolute().parent

    def _files(self) -> list[Path]:
        """The files, in the order of their paths. What begins with a dot is left out. Raises `ConfigError`."""
        if not self._path.is_dir():
            return [self._path]
        files = []
        for folder, folders, names in os.walk(self._path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files += [Path(folder) / name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
        if not files:
            raise ConfigError(f"{self._path} has no file of documents", hint=f"their names end in {' '.join(SUFFIXES)}")
        return sorted(files)

    def documents(self) -> Iterator[RawDocument | DocumentError]:
        """Every document, and in the place of what cannot be read the error. Raises `ConfigError` without any file."""
        if self._stream is not None:
            yield from self._of_file("-", self._stream)
            return
        for path in self._files():
            try:
                with self._opened(path) as file:
                    yield from self._of_file(str(path), file)
            except ConfigError as error:
                place = Place(str(path), 1)
                yield error if isinstance(error, DocumentError) else DocumentError(place, str(error), error.hint)

    def named_file(self, place: Place, name: str) -> bytes:
        """The content of a file that a document names by its path from that document's folder, anywhere below the root.

        Raises `ConfigError`.
        """
        folder = self.root if self._stream else Path(place.file).absolute().parent
        with self._opened(folder / name) as file:
            data = file.read(MAX_FILE + 1)
        if not 0 < len(data) <= MAX_FILE:
            raise ConfigError(f"{name} is empty, or larger than {MAX_FILE} bytes")
        return data

    @contextmanager
    def _opened(self, path: Path) -> Iterator[BinaryIO]:
        """A regular file below the root, links followed, open for reading. Raises `ConfigError`."""
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self.root.resolve()):
                raise ConfigError(f"{path} leads out of {self.root}", hint="name files in the folder or below it")
            # Without O_NONBLOCK a pipe would be waited for.
            with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise ConfigError(
                        f"{path} is not a regular file", hint="standard input is read as -: authz apply -"
                    )
                yield file
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"cannot read {path}: {reason}", hint="check the path and its permissions") from error

    def _of_file(self, name: str, file: BinaryIO) -> Iterator[RawDocument | DocumentError]:
        bounded = _Bounded(file)
        # Some editors begin a file with it, and RFC 8259 section 8.1 lets a reader of JSON pass over it.
        first = bounded.readline().removeprefix(codecs.BOM_UTF8)
        if _is_object(first):
            yield from _json_lines(name, first, bounded)
        else:
            bounded.push_back(first)
            yield from _yaml_documents(name, bounded)


class _Bounded:
    """A file of which no more than `MAX_DOCUMENT` bytes are read for one document."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._before = io.BytesIO()
        self.left = MAX_DOCUMENT

    def push_back(self, data: bytes) -> None:
        self._before = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            raise _TooLargeError
        data = self._before.read(size) or self._file.read(size)
        self.left -= len(data)
        return data

    def readline(self) -> bytes:
        return self._file.readline(MAX_DOCUMENT + 1)


class _TooLargeError(Exception):
    pass


_TOO_LARGE: Final = f"a document of more than {MAX_DOCUMENT} bytes"


def _is_object(line: bytes) -> bool:
    try:
        read_object(line)
    except ValueError:
        return False
    return True


def _json_lines(name: str, line: bytes, file: _Bounded) -> Iterator[RawDocument | DocumentError]:
    number = 1
    while line:
        place = Place(name, number)
        if len(line) > MAX_DOCUMENT:
            yield DocumentError(place, _TOO_LARGE)
            return
        if line.strip():
            try:
                yield _kept(RawDocument(read_object(line), place))
            except ValueError as error:
                yield DocumentError(place, f"is no JSON object: {error}")
        line = file.readline()
        number += 1


def _kept(document: RawDocument) -> RawDocument | DocumentError:
    """The document; an error if a text in it cannot be kept."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), document.data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and (problem := explained(value)):
            return DocumentError(document.at(path), problem)
        if isinstance(value, dict):
            waiting += [((*path, key), key) for key in value] + [((*path, key), value[key]) for key in value]
        elif isinstance(value, list):
            waiting += [((*path, number), one) for number, one in enumerate(value)]
    return document


def _yaml_documents(name: str, file: _Bounded) -> Iterator[RawDocument | DocumentError]:
    reader = _YamlReader(name, file)
    try:
        yield from reader.documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = reader.line if mark is None else mark.line + 1
        yield DocumentError(Place(name, line), f"is not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        yield DocumentError(Place(name, reader.line), f"is not YAML: {' '.join(str(error).split())}")
    except _TooLargeError:
        yield DocumentError(Place(name, reader.line), _TOO_LARGE)


_VALUES: Final = (yaml.ScalarEvent, yaml.CollectionStartEvent)
_NONE: Final = frozenset({"", "~", "null"})


class _YamlReader:
    """Makes data of the events of libyaml's parser, which are read as they are needed."""

    def __init__(self, name: str, file: _Bounded) -> None:
        self._name, self._file = name, file
        self._events: Iterator[yaml.Event] = iter(Loader(file).get_event, None)
        self._lines: dict[tuple[str | int, ...], int] = {}
        self.line = 1

    def documents(self) -> Iterator[RawDocument | DocumentError]:
        """The documents; after the first that cannot be read nothing of the file is."""
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._file.left = MAX_DOCUMENT
            self._lines = {}
            first = self._next()
            place = Place(self._name, self.line)
            try:
                data = self._value(first, ())
            except DocumentError as error:
                yield error
                return
            if isinstance(data, dict):
                yield _kept(RawDocument(data, place, self._lines))
            elif data is not None:
                yield DocumentError(place, "is no mapping", "a document begins with kind: and its kind")

    def _next(self) -> yaml.Event:
        event = next(self._events)
        if event.start_mark is not None:
            self.line = event.start_mark.line + 1
        return event

    def _value(self, event: yaml.Event, path: tuple[str | int, ...]) -> Any:
        self._lines[path] = self.line
        if type(event) is yaml.ScalarEvent and event.anchor is event.tag is None:
            return None if event.implicit[0] and event.value in _NONE else event.value
        if not isinstance(event, _VALUES) or event.anchor is not None:
            raise self._error("anchors and aliases are not read", "write the value out")
        if event.tag is not None:
            raise self._error(f"the tag {event.tag} is not read")
        if len(path) >= MAX_DEPTH:
            raise self._error("nested too deeply")
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: tuple[str | int, ...]) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: tuple[str | int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise self._error("a key that is no plain text")
            if event.value in values:
                raise self._error(f"the key {event.value} stands twice")
            values[event.value] = self._value(self._next(), (*path, event.value))
        return values

    def _error(self, message: str, hint: str = "") -> DocumentError:
        return DocumentError(Place(self._name, self.line), message, hint)
