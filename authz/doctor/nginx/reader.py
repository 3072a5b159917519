"""nginx's configuration as directives that know where they stand: files with what they include, or `nginx -T`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob
from pathlib import Path, PurePath
from typing import Any, Final

import crossplane

from authz.doctor.findings import ConfigFile, Edit, NotUnderstood, Unreadable

MAX_INCLUDES: Final = 1_000
"""Files that are followed; more is a circle."""

_DUMPED: Final = re.compile(r"^# configuration file (\S+):\n", re.MULTILINE)
"""What `nginx -T` writes before each file."""


@dataclass(frozen=True, eq=False)
class Directive:
    """A directive: its name and arguments, and its block if it has one."""

    source: ConfigFile
    line: int
    name: str
    args: tuple[str, ...]
    block: tuple[Directive, ...] | None = None

    @property
    def arg(self) -> str:
        """The first argument; empty without."""
        return self.args[0] if self.args else ""

    @property
    def text(self) -> str:
        """As it is written, but for quotes and its block."""
        return " ".join((self.name, *self.args))

    def inside(self, *names: str) -> tuple[Directive, ...]:
        """The directives of these names that stand in its block."""
        return tuple(each for each in self.block or () if each.name in names)

    def walk(self) -> Iterator[Directive]:
        """Itself and everything below."""
        yield self
        for each in self.block or ():
            yield from each.walk()

    def replaced(self, text: str) -> tuple[Edit, ...]:
        """The edit after which `text` stands in its place; none if it is not found where it should be."""
        match = self._found()
        return (Edit(self.source, *match.span(), text),) if match else ()

    def preceded(self, text: str) -> tuple[Edit, ...]:
        """The edit after which `text` stands before it, in a line of its own if it has one."""
        match = self._found()
        if match is None:
            return ()
        line = self.source.lines[self.line - 1]
        alone = line[: len(line) - len(line.lstrip())] if line.lstrip().startswith(self.name) else None
        return (Edit(self.source, match.start(), match.start(), f"{text} " if alone is None else f"{text}\n{alone}"),)

    def _found(self) -> re.Match[str] | None:
        words = (re.escape(self.name), *(rf"[\"']?{_quoted(arg)}[\"']?" for arg in self.args))
        end = r"\s*;" if self.block is None else r"(?=\s*\{)"
        pattern = re.compile(r"(?<![\w-])" + r"\s+".join(words) + end)
        return pattern.search(self.source.text, self.source.offset(self.line))


def _quoted(word: str) -> str:
    return re.escape(word).replace('"', r"\\?\"").replace("'", r"\\?'")


def is_nginx(source: ConfigFile) -> bool:
    """Whether a text is nginx's: it does not begin as YAML or JSON does, or is what `nginx -T` prints."""
    lines = (line for line in source.text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return bool(_DUMPED.search(source.text)) or not _YAML.match(next(lines, "-"))


_YAML: Final = re.compile(r"""\s*(-|[{\[]|["'\w.@-]+\s*:(\s|$))""")
"""How the first line of a YAML or JSON text begins: an item, a flow, or a key."""


def read_directives(sources: list[ConfigFile], not_understood: list[NotUnderstood]) -> tuple[Directive, ...]:
    """The directives of the files, includes in their places. Raises `Unreadable`.

    A file that another one includes is not read twice.
    """
    given = {source.name: source for source in sources}
    dumped = {name: part for source in sources for name, part in _parts(source).items()}
    reader = _Reader(dumped or given, not_understood, from_dump=bool(dumped))
    roots = [next(iter(dumped))] if dumped else list(given)
    trees = [(name, reader.file(name)) for name in roots]
    return tuple(each for name, tree in trees if name not in reader.included for each in tree)


def _parts(source: ConfigFile) -> Mapping[str, ConfigFile]:
    """The files of a dump, each in the text that its lines are counted in; none if it is no dump."""
    marks = list(_DUMPED.finditer(source.text))
    ends = [*(mark.start() for mark in marks[1:]), len(source.text)][: len(marks)]
    return {mark[1]: ConfigFile(mark[1], source.text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)}


class _Reader:
    def __init__(
        self, files: Mapping[str, ConfigFile], not_understood: list[NotUnderstood], *, from_dump: bool
    ) -> None:
        self._files = dict(files)
        self._not_understood = not_understood
        self._from_dump = from_dump
        self._root = PurePath(next(iter(files))).parent
        self._read = 0
        self.included: set[str] = set()

    def file(self, name: str) -> tuple[Directive, ...]:
        """A file's directives."""
        self._read += 1
        if self._read > MAX_INCLUDES:
            raise Unreadable(f"{name}: more than {MAX_INCLUDES} includes")
        source = self._files.get(name) or read_source(name)
        self._files[name] = source
        return tuple(self._directives(source, _parsed(source)))

    def _directives(self, source: ConfigFile, parsed: list[dict[str, Any]], within: str = "") -> Iterator[Directive]:
        for each in parsed:
            name, args, line = each["directive"], tuple(each["args"]), int(each["line"])
            if name == "include":
                yield from self._include(source, line, args[0] if args else "")
                continue
            if within not in _TABLES and name not in KNOWN_DIRECTIVES and not name.endswith(_LUA):
                self._unknown(source, line, f"the directive {name}")
            block = tuple(self._directives(source, each["block"], name)) if "block" in each else None
            yield Directive(source, line, name, args, block)

    def _include(self, source: ConfigFile, line: int, pattern: str) -> Iterator[Directive]:
        names = self._named(pattern)
        if not names and not glob_like(pattern) and PurePath(pattern).name != "mime.types":
            self._unknown(source, line, f"the file {pattern} was not found")
        for name in names:
            self.included.add(name)
            yield from self.file(name)

    def _named(self, pattern: str) -> list[str]:
        """The files that an include means: of the dump, of those given, or on disk."""
        full = str(self._root / pattern)
        matches = [name for name in self._files if fnmatch(name, full) or fnmatch(name, pattern)]
        matches = matches or [name for name in self._files if fnmatch(PurePath(name).name, PurePath(pattern).name)]
        if matches or self._from_dump:
            return sorted(matches)
        # Not Path.glob: a pattern is absolute as often as not.
        return [name for name in sorted(glob(full)) if Path(name).is_file()]  # noqa: PTH207

    def _unknown(self, source: ConfigFile, line: int, what: str) -> None:
        self._not_understood.append(NotUnderstood(source.name, line, what))


def glob_like(pattern: str) -> bool:
    """Whether an include may match nothing, as nginx has it."""
    return any(mark in pattern for mark in "*?[")


def read_source(name: str) -> ConfigFile:
    """A file's text. Raises `Unreadable`."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise Unreadable(f"{name}: more than {MAX_FILE} bytes")
        return ConfigFile(name, data.decode("utf-8-sig"))
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name}: not UTF-8") from error


MAX_FILE: Final = 64 * 1024 * 1024


def _parsed(source: ConfigFile) -> list[dict[str, Any]]:
    """What crossplane makes of one text; it reads files only."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.write(source.text)
        file.flush()
        payload = crossplane.parse(file.name, single=True, check_ctx=False, check_args=False)
    for error in payload["errors"]:
        raise Unreadable(f"{source.name}:{error['line']}: {str(error['error']).replace(file.name, source.name)}")
    parsed: list[dict[str, Any]] = payload["config"][0]["parsed"]
    return parsed


_LUA: Final = ("_by_lua", "_by_lua_block", "_by_lua_file")
_TABLES: Final = frozenset({"map", "types", "geo", "split_clients", "charset_map"})
"""Blocks whose entries are no directives."""

_NEWER: Final = frozenset(
    {
        *("http2", "http3", "http3_hq", "http3_max_concurrent_streams", "quic_bpf", "quic_gso", "quic_host_key"),
        *("quic_retry", "ssl_reject_handshake", "ssl_certificate_compression", "ssl_certificate_cache"),
        *("ssl_object_cache_inheritable", "keepalive_min_timeout", "proxy_pass_trailers", "max_headers"),
        *("proxy_cookie_flags", "proxy_ssl_certificate_cache", "auth_delay", "brotli", "brotli_comp_level"),
        *("brotli_types", "brotli_static", "more_set_headers", "more_clear_headers", "js_preload_object"),
        *("default_type", "load_module", "ssl_conf_command", "proxy_ssl_conf_command"),
    }
)
"""Directives that crossplane's table lacks, and that no rule hangs on; `more_…_headers` are those of answers."""

KNOWN_DIRECTIVES: Final = frozenset(crossplane.analyzer.DIRECTIVES) | _NEWER
"""What is passed over without a word where no rule looks at it."""
