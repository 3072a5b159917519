"""Certificate policies as RFC 5280 section 6.1 words them: a tree, step by step, whatever it costs.

An opinion to hold the graph of `authz.pki.path.policy_graph` against; RFC 9618 says that the two always agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ANY = "2.5.29.32.0"


@dataclass(frozen=True)
class Stated:
    """What one certificate states; None where it has no such extension."""

    policies: frozenset[str] | None = None
    mappings: tuple[tuple[str, str], ...] = ()
    explicit: int | None = None
    no_mapping: int | None = None
    no_any: int | None = None
    self_issued: bool = False


@dataclass(frozen=True)
class Inputs:
    """Section 6.1.1 (c) and (e) to (g)."""

    wanted: frozenset[str]
    explicit: bool
    no_mapping: bool
    no_any: bool


@dataclass(eq=False)
class Node:
    """6.1.2 (a), without the qualifiers."""

    valid: str
    expected: set[str]
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    def grow(self, valid: str, expected: set[str]) -> None:
        """Give the node a child."""
        self.children.append(Node(valid, expected, self))

    def cut(self) -> None:
        """Take the node, and what hangs from it, off the tree."""
        assert self.parent is not None
        self.parent.children.remove(self)

    def at(self, depth: int) -> list[Node]:
        """The nodes so many levels below this one."""
        return [self] if depth == 0 else [node for child in self.children for node in child.at(depth - 1)]

    def under_any(self) -> Iterator[Node]:
        """6.1.5 (g) (iii) (1): the valid_policy_node_set."""
        for child in self.children:
            if self.valid == ANY != child.valid:
                yield child
            yield from child.under_any()


def pruned(root: Node | None, depth: int) -> Node | None:
    """6.1.3 (d) (3): the tree without the nodes above `depth` that have no child; None if nothing is left."""
    if root is None:
        return None
    for level in range(depth - 1, 0, -1):
        for node in root.at(level):
            if not node.children:
                node.cut()
    return root if root.children else None


class Tree:
    """The state of one path of `length` certificates."""

    def __init__(self, length: int, inputs: Inputs) -> None:
        self.length = length
        self.inputs = inputs
        self.root: Node | None = Node(ANY, {ANY})
        self.explicit = 0 if inputs.explicit else length + 1
        self.mapping = 0 if inputs.no_mapping else length + 1
        self.any = 0 if inputs.no_any else length + 1

    def accepts(self, path: Sequence[Stated]) -> bool:
        """Whether policies let the path pass, given from the certificate under the anchor down."""
        for depth, one in enumerate(path, 1):
            self._certificate(one, depth)
            if self.explicit == 0 and self.root is None:  # 6.1.3 (f)
                return False
            if depth < self.length:
                if any(ANY in pair for pair in one.mappings):  # 6.1.4 (a)
                    return False
                self._map(one, depth)
                self._count(one)
        self.explicit = max(0, self.explicit - 1)  # 6.1.5 (a)
        if path[-1].explicit == 0:  # 6.1.5 (b)
            self.explicit = 0
        self._intersect()
        return self.explicit > 0 or self.root is not None

    def _certificate(self, one: Stated, depth: int) -> None:
        """6.1.3 (d) and (e)."""
        if one.policies is None:
            self.root = None
        if self.root is None or one.policies is None:
            return
        above = self.root.at(depth - 1)
        for policy in one.policies - {ANY}:
            matching = [node for node in above if policy in node.expected]
            for node in matching or [node for node in above if node.valid == ANY]:
                node.grow(policy, {policy})
        if ANY in one.policies and (self.any > 0 or (depth < self.length and one.self_issued)):
            for node in above:
                for policy in node.expected - {child.valid for child in node.children}:
                    node.grow(policy, {policy})
        self.root = pruned(self.root, depth)

    def _map(self, one: Stated, depth: int) -> None:
        """6.1.4 (b)."""
        for policy in {issuer for issuer, _ in one.mappings}:
            level = self.root.at(depth) if self.root else []
            mapped = {subject for issuer, subject in one.mappings if issuer == policy}
            same = [node for node in level if node.valid == policy]
            if self.mapping == 0:
                for node in same:
                    node.cut()
                self.root = pruned(self.root, depth)
                continue
            for node in same:
                node.expected = mapped
            for node in [] if same else level:
                if node.valid == ANY and node.parent is not None:
                    node.parent.grow(policy, mapped)

    def _count(self, one: Stated) -> None:
        """6.1.4 (h) to (j)."""
        falls = 0 if one.self_issued else 1
        limits = (one.explicit, one.no_mapping, one.no_any)
        state = (self.explicit, self.mapping, self.any)
        self.explicit, self.mapping, self.any = (
            min(max(0, value - falls), value if limit is None else limit)
            for value, limit in zip(state, limits, strict=True)
        )

    def _intersect(self) -> None:
        """6.1.5 (g) (iii)."""
        if self.root is None or ANY in self.inputs.wanted:
            return
        found = list(self.root.under_any())
        for node in found:
            if node.valid not in self.inputs.wanted:
                node.cut()
        for node in [one for one in self.root.at(self.length) if one.valid == ANY]:
            for policy in self.inputs.wanted - {one.valid for one in found}:
                assert node.parent is not None
                node.parent.grow(policy, {policy})
            node.cut()
        self.root = pruned(self.root, self.length)
