"""What lint reports: findings of rules, and what it did not understand."""

from __future__ import annotations

import difflib
import inspect
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Final, Generic, TypeVar

UNREADABLE: Final = 2
"""The exit code where something could not be read; 0 is clean, 1 is not."""

SEEN: Final = "seen"
"""The proof of a rule whose fault the tests show with the real proxy."""


class Unreadable(Exception):
    """A file or address that could not be read, or does not hold what its syntax promises."""


class Severity(StrEnum):
    """How bad it is."""

    FATAL = "fatal"
    """A request gets past the check, a client is taken for another, or no client can be let in."""

    WARNING = "warning"
    """Depends on what stands behind or in front: the application, the network, another line that may change."""

    INFO = "info"
    """Worth knowing; it does not make a configuration unclean."""


@dataclass(frozen=True)
class ConfigFile:
    """A text that was read, by the name that the operator knows it by."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> list[str]:
        """Its lines, with their ends."""
        return self.text.splitlines(keepends=True)

    @cached_property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(map(len, self.lines))]

    def offset(self, line: int) -> int:
        """Where a line (from 1) begins."""
        return self._offsets[line - 1]

    def line(self, offset: int) -> int:
        """The line (from 0) of a character."""
        return min(bisect_right(self._offsets, offset), len(self.lines)) - 1

    @cached_property
    def json(self) -> bool:
        """Whether it is JSON, in which names are quoted."""
        return self.text.lstrip().startswith("{")


@dataclass(frozen=True)
class Edit:
    """Put `text` where `source` has the characters from `start` to `end`."""

    source: ConfigFile
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Hit:
    """What a rule found, where (line from 1), and how to mend it there: in words, and as edits if they are known."""

    source: ConfigFile
    line: int
    what: str
    mend: str
    edits: tuple[Edit, ...] = ()


Model = TypeVar("Model")


@dataclass(frozen=True)
class Rule(Generic[Model]):
    """What is wrong, why it matters, by what source, and how the tests show it.

    `proof` is `SEEN`, or says why the real proxy cannot show it in a test.
    """

    id: str
    severity: Severity
    what: str
    why: str
    source: str
    check: Callable[[Model], Iterator[Hit]]
    proof: str = SEEN


def rule(
    id_: str, severity: Severity, source: str, *, proof: str = SEEN
) -> Callable[[Callable[[Model], Iterator[Hit]]], Rule[Model]]:
    """Make a rule of the function that checks it; its docstring says what is wrong, and below, why it matters."""

    def made(check: Callable[[Model], Iterator[Hit]]) -> Rule[Model]:
        what, _, why = inspect.cleandoc(check.__doc__ or "").partition("\n\n")
        return Rule(id_, severity, what.removesuffix("."), " ".join(why.split("\n")), source, check, proof)

    return made


@dataclass(frozen=True)
class Finding:
    """A rule's hit."""

    rule: str
    severity: Severity
    file: str
    line: int
    what: str
    why: str
    mend: str
    diff: str

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class NotUnderstood:
    """Something that may matter and that no rule could judge: never passed over."""

    file: str
    line: int
    what: str

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Report:
    """Everything found, the worst first."""

    findings: tuple[Finding, ...]
    not_understood: tuple[NotUnderstood, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong and nothing is unknown; what is merely worth knowing does not count."""
        return not self.not_understood and all(finding.severity is Severity.INFO for finding in self.findings)


def findings_of(rules: tuple[Rule[Model], ...], model: Model) -> Iterator[Finding]:
    """Every rule's hits, each place once."""
    for rule in rules:
        for hit in dict.fromkeys(rule.check(model)):
            diff = unified_diff(hit.edits)
            yield Finding(rule.id, rule.severity, hit.source.name, hit.line, hit.what, rule.why, hit.mend, diff)


def unified_diff(edits: tuple[Edit, ...]) -> str:
    """The edits as `patch` takes them, with a line of context; empty without any."""
    lines: list[str] = []
    for source in {id(edit.source): edit.source for edit in edits}.values():
        mine = sorted({edit for edit in edits if edit.source is source}, key=lambda edit: edit.start)
        lines += [f"--- {source.name}\n", f"+++ {source.name}\n"]
        shift = 0
        for group in _groups(source, mine):
            hunk, more = _hunk(source, group, shift)
            lines += hunk
            shift += more
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _groups(source: ConfigFile, edits: list[Edit]) -> list[list[Edit]]:
    """The edits, those together whose contexts would touch."""
    groups: list[list[Edit]] = []
    for edit in edits:
        if groups and source.line(edit.start) - source.line(groups[-1][-1].end) < 4:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    return groups


def _hunk(source: ConfigFile, edits: list[Edit], shift: int) -> tuple[list[str], int]:
    """One hunk, and how many lines it adds."""
    first, last = source.line(edits[0].start), max(source.line(edit.end) for edit in edits)
    begin, end = max(0, first - 1), min(len(source.lines), last + 2)
    text, base = "".join(source.lines[begin:end]), source.offset(begin + 1)
    for edit in reversed(edits):
        text = text[: edit.start - base] + edit.text + text[edit.end - base :]
    old, new = source.lines[begin:end], text.splitlines(keepends=True)
    head = f"@@ -{begin + 1},{len(old)} +{begin + 1 + shift},{len(new)} @@\n"
    body = [line for line in difflib.ndiff(old, new) if not line.startswith("?")]
    return [head, *(line[0] + line[2:] for line in body)], len(new) - len(old)


ORDER: Final = {severity: number for number, severity in enumerate(Severity)}
"""The worst first."""
