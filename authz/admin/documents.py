"""The documents of the declarative form: what may stand in each, and what of the directory each stands for.

The models are the JSON Schema, too (`json_schema`). A document says everything of its thing: what it leaves out has the
default.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    model_validator,
)

from authz.admin.authorities import is_self_signed
from authz.admin.described import described_organization, rfc3339
from authz.admin.organizations import OrganizationChange, PathChange, TokenChange
from authz.admin.pem import certificates_in, crl_in, introduce
from authz.admin.registrations import MAX_IDENTITY, check_identity, split_leaf
from authz.directory.audit import canonical
from authz.directory.leaf_columns import READ, read_values
from authz.directory.limits import check_name, check_registration, stored_host
from authz.directory.schema import microseconds, moment_of
from authz.errors import AdvisedError, ConfigError, Problem, Refused
from authz.model import DEFAULT_KINDS, Algorithm, BindingScope, Enforcement, Organization, RegistrationKind
from authz.pki import Certificate


class Kind(IntEnum):
    """The kinds of things, in the order in which they are added; they are removed in the opposite one."""

    ORGANIZATION = 1
    ANCHOR = 2
    INTERMEDIATE = 3
    USER = 4
    CERTIFICATE = 5
    CRL = 6


Key = tuple[Kind, str, str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a document wants the directory to have.

    A thing of a kind is identified by its organization (empty: shared by all), its user, and its `name`: for a CA or
    CRL the SHA-256, hexadecimal, for a registration what `registration_name` makes; what does not count is empty.
    `content` is the canonical JSON of what can change of it, `stored` what a new one is stored with: the DER of a CA or
    CRL, of a registration what `stored_leaf` makes.
    """

    kind: Kind
    organization: str
    user: str
    name: str
    content: bytes
    stored: bytes = b""

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.kind, self.organization, self.user, self.name


Read = Callable[[str], bytes]
"""Reads a file that a document names. Raises `ConfigError`."""


def moment(value: str | None) -> datetime | None:
    """A moment as RFC 3339 writes it; without an offset it is UTC. Raises `ValueError`."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("is not a moment such as 2026-12-31T23:59:59Z") from None


def _name(kind: str) -> AfterValidator:
    def check(name: str) -> str:
        try:
            check_name(kind, name)
        except AdvisedError as error:
            raise ValueError(f"{error}: {error.hint}") from None
        return name

    return AfterValidator(check)


OrganizationName = Annotated[str, _name("organization"), Field(description="The organization's name.")]
Owner = Annotated[
    OrganizationName | None, Field(description="The organization that it is for; left out, it is for all.")
]
UserName = Annotated[str, _name("user"), Field(description="The user's name, as it stands in the user's tokens.")]
Moment = Annotated[datetime, BeforeValidator(moment)]
Pem = Annotated[str | None, Field(description="In PEM.")]
File = Annotated[
    str | None, Field(description="A file with it, PEM or DER, by its path from the folder of this document.")
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class _WithCertificate(_Document):
    certificate: Pem = None
    file: File = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.certificate is None) == (self.file is None) and not (self.certificate is None and self._needs_none()):
            raise ValueError("needs a certificate or a file, and not both")
        return self

    def _needs_none(self) -> bool:
        return False

    def _certificates(self, read: Read) -> list[Certificate]:
        if self.file is not None:
            return certificates_in(read(self.file), self.file)
        return certificates_in((self.certificate or "").encode(), "certificate")


T = TypeVar("T")
Values = Annotated[tuple[T, ...], FailFast()]
"""Of which the first wrong one is an error: each of 300,000 would be an object before any could be left out."""


class TokenDocument(_Document):
    """How the organization's tokens are recognized."""

    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    organization_claim: str | None = None
    keys: str | None = None
    type: str | None = None
    audience_claim: str = "aud"


class PathDocument(_Document):
    """What the organization's certificates may use, and what their paths must satisfy."""

    algorithms: Values[Algorithm] = (Algorithm.DEFAULT,)
    min_rsa_bits: int = 2048
    policies: Values[str] = ()
    explicit_policy: bool = False
    inhibit_mapping: bool = False
    inhibit_any_policy: bool = False
    purpose: str = "1.3.6.1.5.5.7.3.2"


class OrganizationDocument(_Document):
    """A tenant with its hosts."""

    kind: Literal["Organization"]
    name: OrganizationName
    hosts: Values[str] = ()
    active: bool = True
    binding_scope: BindingScope = BindingScope.USER
    binding_kinds: Values[RegistrationKind] = DEFAULT_KINDS
    enforcement: Annotated[Enforcement, Field(description="What its users get who have no own.")] = Enforcement.REQUIRED
    token: TokenDocument = TokenDocument()
    path: PathDocument = PathDocument()

    def wanted(self, read: Read) -> Wanted:  # noqa: ARG002 - the interface of all documents
        """See `Wanted`."""
        hosts = sorted({stored_host(host) for host in self.hosts})
        token, path = TokenChange(**vars(self.token)), PathChange(**vars(self.path))
        change = OrganizationChange(
            hosts, self.active, self.binding_scope, self.enforcement, token, path, self.binding_kinds
        )
        content = described_organization(change.of(Organization(0, self.name, ())))
        return Wanted(Kind.ORGANIZATION, self.name, "", "", canonical(content))


class AnchorDocument(_WithCertificate):
    """A CA that an organization trusts, or all do."""

    kind: Literal["Anchor"]
    organization: Owner = None
    anyway: Annotated[
        bool, Field(description="Trust it although it is not self-signed: no CRL is asked about an anchor.")
    ] = False

    def wanted(self, read: Read) -> Wanted:
        """See `Wanted`."""
        ca = _ca(self._certificates(read))
        if not (self.anyway or is_self_signed(ca)):
            message = f"{ca.subject.text} is not self-signed, and as an anchor it is never revoked"
            raise ConfigError(message, kind=Problem.ANCHOR_NOT_SELF_SIGNED)
        return Wanted(Kind.ANCHOR, self.organization or "", "", ca.sha256.hex(), ca_content(ca), ca.der)


class IntermediateDocument(_WithCertificate):
    """A CA that is known, and must still verify."""

    kind: Literal["Intermediate"]
    organization: Owner = None

    def wanted(self, read: Read) -> Wanted:
        """See `Wanted`."""
        ca = _ca(self._certificates(read))
        return Wanted(Kind.INTERMEDIATE, self.organization or "", "", ca.sha256.hex(), ca_content(ca), ca.der)


class UserDocument(_Document):
    """A user, and what is demanded of the user's certificate."""

    kind: Literal["User"]
    organization: OrganizationName
    name: UserName
    enforcement: Annotated[Enforcement | None, Field(description="Left out, what the organization's users get.")] = None
    active: bool = True

    def wanted(self, read: Read) -> Wanted:  # noqa: ARG002 - the interface of all documents
        """See `Wanted`."""
        enforcement = None if self.enforcement is None else str(self.enforcement)
        return Wanted(Kind.USER, self.organization, self.name, "", user_content(enforcement, active=self.active))


class CertificateDocument(_WithCertificate):
    """A user's registration: the leaf, and the CA certificates beside it, in any order; its key; or a name of it."""

    kind: Literal["Certificate"]
    organization: OrganizationName
    user: UserName
    registers: Annotated[RegistrationKind, Field(description="What counts: the certificate, its key, or a name.")] = (
        RegistrationKind.CERTIFICATE
    )
    name: Annotated[
        str | None, Field(max_length=MAX_IDENTITY, description="The name: uri:…, dns:…, email:…, upn:….")
    ] = None
    anchor: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", description="The SHA-256 of the name's anchor.")] = (
        None
    )
    label: Annotated[str, Field(max_length=64)] = ""
    begin: Annotated[Moment | None, Field(alias="from", description="Not before this moment.")] = None
    until: Annotated[Moment | None, Field(description="Not from this moment on.")] = None
    retired: Annotated[Moment | None, Field(description="From this moment on it is retired for good.")] = None

    @model_validator(mode="after")
    def _name_and_anchor(self) -> Self:
        named = self.registers is RegistrationKind.IDENTITY
        if (self.name is not None, self.anchor is not None) != (named, named):
            raise ValueError("name and anchor go with registers: identity, both of them")
        if self.name is not None:
            try:
                check_identity(self.name)
            except AdvisedError as error:
                raise ValueError(f"{error}: {error.hint}") from None
        return self

    def _needs_none(self) -> bool:
        return self.registers is RegistrationKind.IDENTITY

    def wanted(self, read: Read) -> Wanted:
        """See `Wanted`."""
        leaf, chain = None, list[Certificate]()
        if self.certificate is not None or self.file is not None:
            leaf, chain = split_leaf(self._certificates(read), self.file or "it")
            introduce(leaf)
        check_registration(chain, self.label, self.begin, self.until)
        ders = b"".join(certificate.der for certificate in chain)
        content = registration_content(self.user, self.label, (self.begin, self.until, self.retired), ders)
        stored = stored_leaf(leaf, ders)
        digest = b"" if leaf is None else leaf.spki_sha256 if self.registers is RegistrationKind.KEY else leaf.sha256
        anchor = None if self.anchor is None else bytes.fromhex(self.anchor)
        name = registration_name(self.registers, digest, self.name, anchor)
        return Wanted(Kind.CERTIFICATE, self.organization, self.user, name, content, stored)


MAX_CRL: Final = 2_900_000
"""Bytes of the largest CRL that `authz.admin.document_reader.MAX_DOCUMENT` takes in PEM, indented."""


class CrlDocument(_Document):
    """A CRL that was added by hand: its CA stands in the directory, or in the documents."""

    kind: Literal["Crl"]
    crl: Pem = None
    file: File = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.crl is None) == (self.file is None):
            raise ValueError("needs a crl or a file, and not both")
        return self

    def wanted(self, read: Read) -> Wanted:
        """See `Wanted`."""
        data = (self.crl or "").encode() if self.file is None else read(self.file)
        crl = crl_in(data, self.file or "crl")
        return Wanted(Kind.CRL, "", "", crl.sha256.hex(), crl_content(crl.sha256), crl.der or b"")


Document = (
    OrganizationDocument | AnchorDocument | IntermediateDocument | UserDocument | CertificateDocument | CrlDocument
)

ADAPTER: Final[TypeAdapter[Document]] = TypeAdapter(Annotated[Document, Field(discriminator="kind")])


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one document."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A document of authz apply"}
    return schema | ADAPTER.json_schema()


def user_content(enforcement: str | None, *, active: bool) -> bytes:
    """The content of a user; without an enforcement, that of a document that leaves it to the organization."""
    return canonical({"active": active, "enforcement": enforcement})


def registration_content(user: str, label: str, period: tuple[datetime | None, ...], chain: bytes) -> bytes:
    """The content of a registered certificate; the period is from when, until when, and when it was retired."""
    begin, until, retired = map(rfc3339, period)
    dates = {"from": begin, "until": until, "retired": retired}
    return canonical({"user": user, "label": label, "chain": sha256(chain).hexdigest() if chain else "", **dates})


class StoredLeaf(NamedTuple):
    """`Wanted.stored` of a registration, taken apart again: DER, empty without a leaf, and the columns `READ`."""

    leaf: bytes
    chain: bytes
    read: tuple[Any, ...]

    @classmethod
    def of(cls, stored: bytes) -> StoredLeaf:
        """What `stored_leaf` put together."""
        leaf, chain, read = marshal.loads(stored)  # noqa: S302 - written by this process, into its own temporary file
        return cls(leaf, chain, (*map(moment_of, read[:2]), *read[2:]) if read else (None,) * len(READ))


def stored_leaf(leaf: Certificate | None, chain: bytes) -> bytes:
    """What a new registration is stored with: its certificates, and what was read of the leaf, once.

    A leaf that cannot be read has no columns, and no check accepts it.
    """
    if leaf is None:
        return marshal.dumps((b"", chain, None))
    try:
        not_before, not_after, *read = read_values(leaf)
    except Refused:
        return marshal.dumps((leaf.der, chain, None))
    return marshal.dumps((leaf.der, chain, (microseconds(not_before), microseconds(not_after), *read)))


def registration_name(kind: RegistrationKind, digest: bytes, identity: str | None, anchor: bytes | None) -> str:
    """What a registration names, as `Wanted.name`: `digest` is the SHA-256 of the certificate or of the key."""
    if kind is RegistrationKind.IDENTITY:
        return f"{kind} {(anchor or b'').hex()} {identity}"
    return f"{kind} {digest.hex()}" if kind is RegistrationKind.KEY else digest.hex()


class RegistrationName(NamedTuple):
    """`Wanted.name` of a registration, taken apart again."""

    kind: RegistrationKind
    digest: bytes = b""
    identity: str | None = None
    anchor: bytes | None = None

    @classmethod
    def of(cls, name: str) -> RegistrationName:
        """What `registration_name` put together."""
        kind, _, value = name.partition(" ")
        match kind:
            case RegistrationKind.KEY:
                return cls(RegistrationKind.KEY, bytes.fromhex(value))
            case RegistrationKind.IDENTITY:
                anchor, _, identity = value.partition(" ")
                return cls(RegistrationKind.IDENTITY, identity=identity, anchor=bytes.fromhex(anchor))
        return cls(RegistrationKind.CERTIFICATE, bytes.fromhex(name))

    @property
    def key(self) -> tuple[str, bytes]:
        """Kind and key of the log of changes."""
        return str(self.kind), self.digest if self.identity is None else self.identity.encode()


def retired_content(content: bytes, at: datetime) -> bytes:
    """The content of a registered certificate that is retired at a moment, if it was not before."""
    values = orjson.loads(content)
    former = moment(values["retired"])
    return content if former is not None and former <= at else canonical(values | {"retired": rfc3339(at)})


def ca_content(ca: Certificate) -> bytes:
    """The content of an anchor or intermediate, of which nothing can change."""
    return canonical({"subject": ca.subject.text})


def crl_content(sha256: bytes) -> bytes:
    """The content of a CRL, of which nothing can change."""
    return canonical({"sha256": sha256.hex()})


def _ca(certificates: Sequence[Certificate]) -> Certificate:
    """The only certificate, which can be a CA's. Raises `ConfigError`."""
    if len(certificates) != 1:
        raise ConfigError(f"{len(certificates)} certificates", hint="write a document for each")
    if certificates[0].v3 and not certificates[0].extensions.ca:
        raise ConfigError(f"{certificates[0].subject.text} is no CA", kind=Problem.IS_NO_CA)
    return certificates[0]
