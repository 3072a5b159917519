"""Mutants of certificates and CRLs that are DER again: signed again, they reach the rules behind the parser."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from authz.pki.x509 import der
from support.certificates import tlv

CONSTRUCTED = 0x20
TAGS = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0A,
    0x0C,
    0x13,
    0x14,
    0x16,
    0x17,
    0x1E,
    0x30,
    0x31,
    0x80,
    0x82,
    0xA0,
    0xA4,
)


@dataclass
class Node:
    """An element of DER: with `children` if constructed, or an OCTET STRING that holds DER; else with `content`."""

    tag: int
    content: bytes = b""
    children: list[Node] = field(default_factory=list)

    def encoded(self) -> bytes:
        """The element in DER."""
        return tlv(self.tag, b"".join(one.encoded() for one in self.children) or self.content)

    def below(self) -> list[Node]:
        """This node and all under it."""
        return [self, *(one for child in self.children for one in child.below())]


def forest(data: bytes) -> list[Node]:
    """The elements that fill `data`. Raises `ValueError`."""
    found = []
    for tag, start, end in der.elements(data, 0, len(data)):
        content = data[start:end]
        if tag & CONSTRUCTED:
            found.append(Node(tag, children=forest(content)))
        else:
            found.append(_primitive(tag, content))
    return found


def _primitive(tag: int, content: bytes) -> Node:
    if tag == der.OCTET_STRING:
        try:
            return Node(tag, children=forest(content))
        except ValueError:
            pass
    return Node(tag, content)


def change(drawn: random.Random, signed: Node) -> None:
    """Change one to three nodes of the signed part."""
    for _ in range(drawn.randint(1, 3)):
        _change(drawn, signed)


def _change(drawn: random.Random, tree: Node) -> None:
    nodes = tree.below()
    node, other = drawn.choice(nodes), drawn.choice(nodes)
    kind = drawn.randrange(6)
    if kind == 0:
        node.tag = drawn.choice(TAGS)
    elif kind == 1:
        node.content, node.children = b"", []
    elif kind == 2:
        node.content, node.children = drawn.randbytes(drawn.randint(1, 6)), []
    elif kind == 3 and node.children:
        node.children.pop(drawn.randrange(len(node.children)))
    elif kind == 4 and node.children:
        node.children.insert(drawn.randint(0, len(node.children)), drawn.choice(node.children))
    elif not {id(node), id(other)} & {id(one) for one in tree.children} and node not in other.below():
        node.tag, node.content, node.children = other.tag, other.content, other.children
