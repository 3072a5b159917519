"""The directory as documents: what `apply` reads and finds nothing to change in."""

from __future__ import annotations

import json
import ssl
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
import sqlalchemy as sa

from authz.admin.authorities import is_self_signed
from authz.admin.documents import MAX_CRL, Kind, RegistrationName, StoredLeaf, Wanted
from authz.admin.held import held
from authz.directory import rows
from authz.directory.schema import crls
from authz.model import RegistrationKind
from authz.pki import Certificate

Value = dict[str, Any]


def export(connection: sa.Connection, kinds: tuple[Kind, ...] = tuple(Kind)) -> Iterator[Value]:
    """Every document: by kind, organization, user and id, as one state of the directory has them; see `left_out`."""
    for kind in kinds:
        for thing in held(connection, kind, ders=True):
            if kind is not Kind.CRL or len(thing.wanted.stored) <= MAX_CRL:
                yield {"kind": kind.name.capitalize(), **_FIELDS[kind](thing.wanted)}


def left_out(connection: sa.Connection) -> int:
    """How many CRLs are too large for a document."""
    count = sa.select(sa.func.count()).select_from(crls).where(sa.func.length(crls.c.der) > MAX_CRL)
    return int(connection.execute(count).scalar_one())


def _organization(wanted: Wanted) -> Value:
    return {name: value for name, value in orjson.loads(wanted.content).items() if value != {}}


def _authority(wanted: Wanted) -> Value:
    owner = {"organization": wanted.organization} if wanted.organization else {}
    return {**owner, "certificate": ssl.DER_cert_to_PEM_cert(wanted.stored)}


def _anchor(wanted: Wanted) -> Value:
    signed = is_self_signed(Certificate.parse(wanted.stored))
    return {**_authority(wanted), **({} if signed else {"anyway": True})}


def _user(wanted: Wanted) -> Value:
    return {"organization": wanted.organization, "name": wanted.user, **orjson.loads(wanted.content)}


def _certificate(wanted: Wanted) -> Value:
    content = orjson.loads(wanted.content)
    given = {name: content[name] for name in ("label", "from", "until", "retired") if content[name]}
    leaf, chain, _ = StoredLeaf.of(wanted.stored)
    named = RegistrationName.of(wanted.name)
    if named.kind is not RegistrationKind.CERTIFICATE:
        given = {"registers": str(named.kind), **given}
    if named.identity is not None:
        given |= {"name": named.identity, "anchor": (named.anchor or b"").hex()}
    owner = {"organization": wanted.organization, "user": wanted.user}
    certificates = "".join(map(ssl.DER_cert_to_PEM_cert, (leaf, *rows.readable_chain(chain)))) if leaf else ""
    return {**owner, **given, **({"certificate": certificates} if leaf else {})}


def _crl(wanted: Wanted) -> Value:
    return {"crl": pem_of_crl(wanted.stored)}


def pem_of_crl(der: bytes) -> str:
    """A CRL in PEM (RFC 7468 section 7)."""
    # No blank is in Base64.
    return ssl.DER_cert_to_PEM_cert(der).replace(" CERTIFICATE", " X509 CRL")


_FIELDS: Final[dict[Kind, Callable[[Wanted], Value]]] = {
    Kind.ORGANIZATION: _organization,
    Kind.ANCHOR: _anchor,
    Kind.INTERMEDIATE: _authority,
    Kind.USER: _user,
    Kind.CERTIFICATE: _certificate,
    Kind.CRL: _crl,
}


def as_yaml(document: Value) -> str:
    """A document in YAML: a key a line, every text quoted but for PEM."""
    return "---\n" + "".join(f"{key}: {_value(key, value)}\n" for key, value in document.items())


def _value(key: str, value: object) -> str:
    return "|\n" + textwrap.indent(str(value).rstrip("\n"), "  ") if key in {"certificate", "crl"} else _yaml(value)


def _yaml(value: object, indent: str = "  ") -> str:
    match value:
        case dict():
            return "".join(f"\n{indent}{key}: {_yaml(inner, indent + '  ')}" for key, inner in value.items())
        case list():
            return f"[{', '.join(map(_yaml, value))}]"
        case str():
            return quoted(value)
    return json.dumps(value)


def quoted(text: str) -> str:
    """A text in double quotes, as YAML 1.2 reads it (section 5.7), whatever characters it has."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return f"\\{character}"
    if character == " " or character.isprintable():
        return character
    return f"\\U{ord(character):08X}"
