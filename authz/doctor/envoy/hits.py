"""How a rule over Envoy's configuration says what it found."""

from __future__ import annotations

from authz.doctor.findings import Edit, Hit
from authz.doctor.tree import Node


def hit(node: Node, what: str, mend: str, edits: tuple[Edit, ...] = ()) -> Hit:
    """A hit at the place of `node`."""
    return Hit(node.source, node.line, what, mend, edits)


def name_of(node: Node) -> str:
    """A listener, cluster or virtual host by its name, or what stands for one."""
    return node.at("name").text or "without a name"
