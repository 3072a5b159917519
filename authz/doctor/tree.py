"""Envoy's configuration as a tree that knows where each value stands: YAML, and JSON, which is YAML.

Keys keep their spelling; `at` finds a field in snake_case and in camelCase, for Envoy takes both (protobuf's JSON).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import yaml

from authz.doctor.findings import ConfigFile, Edit, NotUnderstood, Unreadable

MAX_NODES: Final = 2_000_000
"""Values after aliases are expanded: a dump of Envoy has some 5,000 a listener; a bomb of aliases has billions."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "n"})


@dataclass(frozen=True, eq=False)
class Node:
    """A mapping, a sequence, a scalar, or nothing at all (`ABSENT`), which is false."""

    source: ConfigFile
    start: int
    end: int
    line: int
    column: int
    flow: bool
    fields: Mapping[str, Node] | None = None
    items: tuple[Node, ...] = ()
    scalar: str | None = None

    def __bool__(self) -> bool:
        return self is not ABSENT

    def at(self, path: str) -> Node:
        """The value at a path of field names, such as `http_service.server_uri`."""
        node = self
        for name in path.split("."):
            node = node.field(name)
        return node

    def field(self, name: str) -> Node:
        """One field's value; a name may hold dots here."""
        fields = self.fields or {}
        return fields.get(name) or fields.get(_camel(name)) or ABSENT

    @property
    def text(self) -> str:
        """A scalar's text; empty for anything else."""
        return self.scalar or ""

    def flag(self, *, default: bool = False) -> bool:
        """A boolean. What is neither true nor false Envoy refuses; here it is the default's opposite, to be noticed."""
        word = self.text.lower()
        if not word:
            return default
        return word in _TRUE if word in _TRUE | _FALSE else not default

    def choice(self, *names: str) -> str:
        """An enumeration's value by name; protobuf takes its number as well. The first is what absence means."""
        text = self.text
        if text.isdecimal() and int(text) < len(names):
            return names[int(text)]
        return text or names[0]

    @property
    def type(self) -> str:
        """The last word of the message's type: `ExtAuthz` of `type.googleapis.com/….v3.ExtAuthz`."""
        return re.split(r"[./]", self.field("@type").text)[-1]

    @property
    def package(self) -> str:
        """The extension that the message configures: `ext_authz` of `….ext_authz.v3.ExtAuthz`."""
        wrapped = self.type == "TypedStruct"
        words = re.split(r"[./]", self.field("type_url" if wrapped else "@type").text)
        return words[-3] if len(words) > 2 else ""

    def unwrapped(self) -> Node:
        """The message in a `TypedStruct`, else itself."""
        return self.field("value") if self.type == "TypedStruct" else self

    def inner_type(self) -> str:
        """The type of the message, also in a `TypedStruct`."""
        if self.type == "TypedStruct":
            return re.split(r"[./]", self.field("type_url").text)[-1]
        return self.type

    def value(self) -> Any:
        """The tree as plain Python, for writing it down elsewhere. Scalars that YAML would read otherwise stay text."""
        if self.fields is not None:
            return {name: node.value() for name, node in self.fields.items()}
        if self.items or self.scalar is None:
            return [node.value() for node in self.items]
        return json.loads(self.scalar) if re.fullmatch(r"true|false|-?\d{1,15}", self.scalar) else self.scalar

    def walk(self) -> Iterator[Node]:
        """Itself and everything below."""
        yield self
        for node in (*(self.fields or {}).values(), *self.items):
            yield from node.walk()

    def put(self, path: str, value: Any) -> tuple[Edit, ...]:
        """The edit after which `path` in this mapping holds `value`; none where there is nothing to edit."""
        name, _, rest = path.partition(".")
        child = self.field(name)
        if child and rest and child.fields is not None:
            return child.put(rest, value)
        for each in reversed(rest.split(".") if rest else ()):
            value = {each: value}
        if child:
            return (Edit(self.source, child.start, child.end, self._written(value)),)
        if self.fields is None:
            return ()
        return (self._insert(f"{self._key(name)}: {self._written(value)}", empty=not self.fields),)

    def append(self, value: Any) -> tuple[Edit, ...]:
        """The edit after which this sequence holds `value` in front."""
        if self is ABSENT or self.fields is not None or self.scalar is not None:
            return ()
        text = self._written(value)
        return (self._insert(text if self.flow else f"- {text}", empty=not self.items),)

    def _insert(self, text: str, *, empty: bool) -> Edit:
        if self.flow:
            return Edit(self.source, self.start + 1, self.start + 1, text if empty else f"{text}, ")
        return Edit(self.source, self.start, self.start, f"{text}\n{' ' * self.column}")

    def _key(self, name: str) -> str:
        return json.dumps(name) if self.source.json else name

    def _written(self, value: Any) -> str:
        text = json.dumps(value)
        return text if self.source.json else re.sub(r'"([A-Za-z_][A-Za-z0-9_./-]*)"', _bare, text)


_NOWHERE: Final = ConfigFile("", "")
ABSENT: Final = Node(_NOWHERE, 0, 0, 0, 0, flow=True)
"""What is not there."""


def read_tree(source: ConfigFile, not_understood: list[NotUnderstood]) -> Node:
    """The tree of a YAML or JSON text. Raises `Unreadable`."""
    try:
        documents = list(yaml.compose_all(source.text, _LOADER))
        if len(documents) != 1 or documents[0] is None:
            raise Unreadable(f"{source.name}: {len(documents)} YAML documents; Envoy reads one")
        reader = _Reader(source, not_understood)
        return reader.node(documents[0])
    except yaml.YAMLError as error:
        raise Unreadable(f"{source.name}: not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise Unreadable(f"{source.name}: nested too deeply") from error


class _Reader:
    def __init__(self, source: ConfigFile, not_understood: list[NotUnderstood]) -> None:
        self._source = source
        self._not_understood = not_understood
        self._made: dict[int, tuple[Node, int]] = {}
        self._open: set[int] = set()
        self._sizes: list[int] = [0]

    def node(self, composed: yaml.Node) -> Node:
        """The tree below a node of PyYAML's; an alias is the same tree again."""
        known = self._made.get(id(composed))
        if known is None:
            if id(composed) in self._open:
                raise Unreadable(f"{self._source.name}: line {composed.start_mark.line + 1}: an alias within itself")
            self._open.add(id(composed))
            self._sizes.append(1)
            made = self._make(composed)
            known = self._made[id(composed)] = made, self._sizes.pop()
        self._sizes[-1] += known[1]
        if self._sizes[-1] > MAX_NODES:
            raise Unreadable(f"{self._source.name}: more than {MAX_NODES} values")
        return known[0]

    def _make(self, composed: yaml.Node) -> Node:
        begin, end = composed.start_mark, composed.end_mark
        if isinstance(composed, yaml.MappingNode):
            fields = self._fields(composed)
            last = self._end(composed, [value for _, value in composed.value])
            return self._placed(begin, last, flow=bool(composed.flow_style), fields=fields)
        if isinstance(composed, yaml.SequenceNode):
            items = tuple(map(self.node, composed.value))
            last = self._end(composed, composed.value)
            return self._placed(begin, last, flow=bool(composed.flow_style), items=items)
        plain = composed.tag == "tag:yaml.org,2002:null"
        return self._placed(begin, end.index, flow=True, scalar=None if plain else composed.value)

    def _placed(self, begin: Any, end: int, *, flow: bool, **what: Any) -> Node:
        return Node(self._source, begin.index, end, begin.line + 1, begin.column, flow, **what)

    def _end(self, composed: Any, children: list[yaml.Node]) -> int:
        """A block's mark of its end lies behind the comments that follow; its last child's is meant."""
        if composed.flow_style or not children:
            return int(composed.end_mark.index)
        last = children[-1]
        # An alias stands elsewhere.
        own = last.start_mark.index >= composed.start_mark.index
        return self._made[id(last)][0].end if own and id(last) in self._made else int(composed.end_mark.index)

    def _fields(self, composed: yaml.MappingNode) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        seen: set[str] = set()
        for key, value in composed.value:
            name, line = str(key.value), key.start_mark.line + 1
            if value.tag == "!ignore" or key.tag == "!ignore":
                continue
            if _camel(name) in seen or not isinstance(key, yaml.ScalarNode):
                self._not_understood.append(NotUnderstood(self._source.name, line, f"the field {name} stands twice"))
            if name == "<<":
                self._not_understood.append(NotUnderstood(self._source.name, line, "a merge key, which Envoy lacks"))
            seen.add(_camel(name))
            fields[name] = self.node(value)
        return fields


def _bare(quoted: re.Match[str]) -> str:
    """A word without its quotes, unless YAML would take it for something else."""
    return quoted[0] if quoted[1].lower() in _TRUE | _FALSE | {"null"} else quoted[1]


@lru_cache(1_024)
def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
