"""Name constraints (RFC 5280 section 4.2.1.10), gathered down the path and applied to every name below.

Permitted subtrees of one kind intersect between certificates and unite within one; an excluded
subtree excludes for good. A constraint of a kind that cannot be compared refuses as soon as a name of
that kind appears.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from cryptography import x509

from authz.errors import Refused
from authz.pki.names import Name
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.pki.budget import Budget
    from authz.pki.certificate import Certificate

GeneralName = x509.GeneralName
_IP_VERSIONS: Final = (4, 6)


def dns_within(name: str, base: str) -> bool:
    """Whether a DNS name lies in the subtree `base`: equal, or with labels added on its left.

    A base with a leading dot covers names below it only; section 4.2.1.10 does not define it for DNS,
    implementations read it so.
    """
    name, base = name.lower().removesuffix("."), base.lower().removesuffix(".")
    if base.startswith("."):
        return name.endswith(base) and len(name) > len(base)
    return base in {"", name} or name.endswith("." + base)


def _dns_overlaps(name: str, base: str) -> bool:
    """Whether a name, or one that a wildcard may stand for, lies in `base`: that is what exclusion means."""
    if name.startswith("*."):
        parent = name[2:].lower().removesuffix(".")
        below = base.lower().removeprefix(".").removesuffix(".")
        return dns_within(parent, base) or below.partition(".")[2] == parent
    return dns_within(name, base)


def email_within(address: str, base: str) -> bool:
    """Whether a mailbox lies in `base`: one mailbox, all of one host, or with a leading dot all hosts of a domain."""
    local, at, host = address.rpartition("@")
    if "@" in base:
        base_local, _, base_host = base.rpartition("@")
        # RFC 5280 section 7.5: the host part without regard to case, the local part exactly.
        return local == base_local and host.lower() == base_host.lower()
    if base.startswith("."):
        return bool(at) and host.lower().endswith(base.lower())
    return bool(at) and host.lower() == base.lower()


def uri_within(uri: str, base: str) -> bool:
    """Whether the host of `uri` is `base`, or lies below it if `base` begins with a dot.

    Raises `Refused` (name_constraint_violated) for a URI without a host name: section 4.2.1.10 has it refused.
    """
    host = uri_host(uri).lower()
    base = base.lower()
    return host.endswith(base) and host != base if base.startswith(".") else host == base


def uri_host(uri: str) -> str:
    """The host name of `uri` (RFC 3986 section 3.2.2). Raises `Refused` when it has none, or an address instead."""
    scheme, separator, rest = uri.partition("://")
    authority = rest
    for delimiter in "/?#":
        authority = authority.partition(delimiter)[0]
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, "a URI with an address, under URI name constraints")
    host = host.partition(":")[0].removesuffix(".")
    if not separator or not scheme or not host or _is_ipv4(host):
        raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, "a URI without a host name, under URI name constraints")
    return host


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _ip_within(name: object, base: object) -> bool:
    """Whether an address lies in a network of its own family."""
    if isinstance(name, ipaddress.IPv4Address) and isinstance(base, ipaddress.IPv4Network):
        return name in base
    if isinstance(name, ipaddress.IPv6Address) and isinstance(base, ipaddress.IPv6Network):
        return name in base
    return False


def _directory_within(name: x509.Name, base: x509.Name) -> bool:
    return Name(name).within(Name(base))


# The kinds that can be compared: how a permitted, and how an excluded subtree is tested.
_KINDS: Final[dict[type[GeneralName], tuple[Callable[..., bool], Callable[..., bool]]]] = {
    x509.DNSName: (dns_within, _dns_overlaps),
    x509.RFC822Name: (email_within, email_within),
    x509.UniformResourceIdentifier: (uri_within, uri_within),
    x509.IPAddress: (_ip_within, _ip_within),
    x509.DirectoryName: (_directory_within, _directory_within),
}


class NameConstraints:
    """The constraints gathered so far on one path (the state variables of RFC 5280 section 6.1.2 (b) and (c))."""

    def __init__(self) -> None:
        self._permitted: list[tuple[GeneralName, ...]] = []
        self._excluded: list[GeneralName] = []

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return bool(self._permitted or self._excluded)

    def add(self, permitted: tuple[GeneralName, ...], excluded: tuple[GeneralName, ...]) -> None:
        """Take the constraints of one more CA (RFC 5280 section 6.1.4 (g)): permitted intersect, excluded unite."""
        if permitted:
            self._permitted.append(permitted)
        self._excluded += excluded

    def check(self, certificate: Certificate, budget: Budget) -> None:
        """Check subject and every alternative name of `certificate` (RFC 5280 section 6.1.3 (b) and (c)).

        Raises `Refused`: name_constraint_violated, name_constraint_unsupported, budget_exceeded.
        """
        names = subject_names(certificate)
        budget.spend_names(len(names) * (len(self._excluded) + sum(map(len, self._permitted))))
        for name in names:
            self._check_name(name, certificate)

    def _check_name(self, name: GeneralName, certificate: Certificate) -> None:
        kind = type(name)
        for base in self._excluded:
            if _same_kind(base, name) and _test(kind, 1, name, base, certificate):
                raise _violation(name, "is excluded", certificate)
        for subtrees in self._permitted:
            bases = [base for base in subtrees if _same_kind(base, name)]
            if bases and not any(_test(kind, 0, name, base, certificate) for base in bases):
                raise _violation(name, "is not permitted", certificate)


def subject_names(certificate: Certificate) -> list[GeneralName]:
    """Every name of `certificate` that constraints apply to: its subject, the e-mail in it, its alternative names.

    An address in the subject counts when there is no e-mail alternative name (section 4.2.1.10), and
    beside one too: what may be read as an address must be allowed as one.
    """
    names = list(certificate.extensions.names)
    subject = certificate.subject
    if not subject.empty:
        names.append(x509.DirectoryName(certificate.x509.subject))
    return names + [_address(address, certificate) for address in subject.email_addresses()]


def _address(address: str, certificate: Certificate) -> GeneralName:
    try:
        return x509.RFC822Name(address)
    except ValueError as error:
        raise Refused(Reason.NAME_CONSTRAINT_VIOLATED, f"e-mail: {error}", certificate=certificate.der) from error


def _same_kind(base: GeneralName, name: GeneralName) -> bool:
    if isinstance(base, x509.OtherName) and isinstance(name, x509.OtherName):
        return base.type_id == name.type_id
    return type(base) is type(name)


def _test(kind: type[GeneralName], which: int, name: GeneralName, base: GeneralName, about: Certificate) -> bool:
    tests = _KINDS.get(kind)
    if tests is None:
        raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, f"names of the kind {kind.__name__}", certificate=about.der)
    try:
        return tests[which](name.value, base.value)
    except Refused as refusal:
        raise Refused(refusal.reason, refusal.detail, certificate=about.der) from refusal


def _violation(name: GeneralName, what: str, certificate: Certificate) -> Refused:
    return Refused(Reason.NAME_CONSTRAINT_VIOLATED, f"{name.value} {what}", certificate=certificate.der)
