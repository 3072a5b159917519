"""The kinds of names that name constraints apply to, and when each is in a subtree (RFC 5280 section 4.2.1.10).

A malformed name (a DNS name with a space in it, a URI without a host) cannot be placed in or outside a
subtree: it raises `ValueError`, and so does a malformed subtree.

Where the section is ambiguous, the narrow reading holds: a DNS subtree with a leading dot permits only
names below it and also excludes its own name; an empty e-mail or URI subtree permits nothing and
excludes everything; a wildcard is excluded if any name that it matches is.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography import x509

from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# RFC 1034 section 3.5, with the underscore that is seen in the field. \Z: a $ would accept a line feed.
# Possessive, as nothing after a label can begin with its letters: a mismatch fails without backtracking.
_LABELS: Final = r"[A-Za-z0-9_-]{1,63}+(?:\.[A-Za-z0-9_-]{1,63}+)*+"
_DNS_NAME: Final = re.compile(rf"(?:\*\.)?{_LABELS}\.?\Z")
_SUBTREE: Final = re.compile(rf"(?:\.?{_LABELS}\.?)?\Z")
# RFC 5321 section 4.1.2, without quoted local parts, which can be written in several ways.
_MAILBOX: Final = re.compile(rf"[^@\"\\\s()<>,:;\[\]]+@{_LABELS}\.?\Z")
# RFC 3986 section 3: scheme, user information, host, port.
_URI: Final = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@\\]*@)?({_LABELS}\.?)(?::[0-9]*)?(?:[/?#]|\Z)")

SMTP_UTF8_MAILBOX: Final = "1.3.6.1.5.5.7.8.9"
"""The otherName of an e-mail address beyond ASCII (RFC 9598 section 3): a UTF8String, with its host in A-labels."""


class Comparable(NamedTuple):
    """One name or subtree: its kind (which includes the type identifier of an otherName) and its value."""

    kind: tuple[type[x509.GeneralName], str]
    value: Any

    @property
    def text(self) -> str:
        """For people to read; escape it where it is shown."""
        return self.value.text if isinstance(self.value, Name) else str(self.value)


class NameKind(NamedTuple):
    """How names and subtrees of one kind are read, and when a subtree permits or excludes a name."""

    name: Callable[[Any], Any]
    subtree: Callable[[Any], Any]
    permits: Callable[[Any, Any], bool]
    excludes: Callable[[Any, Any], bool]


def comparable_names(names: Iterable[x509.GeneralName]) -> tuple[Comparable, ...]:
    """Names as they are compared."""
    return tuple(_comparable(name) for name in names)


def names_of(alternative: Iterable[x509.GeneralName], subject: Name) -> tuple[Comparable, ...]:
    """Every name that constraints apply to: alternative names, the subject, the e-mail addresses in either.

    Section 4.2.1.10 has an address in the subject count without an e-mail alternative name; here it always
    counts, as somebody may read it as an address. Raises `ValueError`.
    """
    names = comparable_names(alternative)
    # RFC 9598 section 6 applies constraints of e-mail addresses to those beyond ASCII.
    mailboxes = [_utf8_string(name.value) for name in names if name.kind == (x509.OtherName, SMTP_UTF8_MAILBOX)]
    if subject:
        names += (Comparable((x509.DirectoryName, ""), subject),)
    addresses = (*mailboxes, *subject.email_addresses())
    return names + tuple(Comparable((x509.RFC822Name, ""), address) for address in addresses)


def _utf8_string(value: bytes) -> str:
    start, end = der.only(value, der.UTF8_STRING)
    return value[start:end].decode("utf-8")


def _comparable(name: x509.GeneralName) -> Comparable:
    if isinstance(name, x509.DirectoryName):
        return Comparable((x509.DirectoryName, ""), Name(name.value))
    if isinstance(name, x509.OtherName):
        return Comparable((x509.OtherName, name.type_id.dotted_string), name.value)
    return Comparable((type(name), ""), name.value)


def _dns_name(value: str) -> str:
    return _matching(_DNS_NAME, value)


def _subtree(value: str) -> str:
    return _matching(_SUBTREE, value)


def _matching(pattern: re.Pattern[str], value: str) -> str:
    """The value in lower case, without the root's dot."""
    if pattern.match(value) is None:
        raise ValueError(f"{value!r} is not well-formed")
    return value.lower().removesuffix(".")


def dns_permits(name: str, base: str) -> bool:
    """Whether the name equals the base or adds labels on the left; a leading dot covers only names below the base."""
    if base.startswith("."):
        return name.endswith(base)
    return base in {"", name} or name.endswith(f".{base}")


def dns_excludes(name: str, base: str) -> bool:
    """Whether the name, or one that its wildcard matches, is in the subtree or is its root."""
    base = base.removeprefix(".")
    return dns_permits(name, base) or (name.startswith("*.") and base.partition(".")[2] == name[2:])


def _mailbox(value: str) -> tuple[str, str]:
    """The local part unchanged, and the host in lower case (section 7.5)."""
    if _MAILBOX.match(value) is None:
        raise ValueError(f"{value!r} is not well-formed")
    local, _, host = value.rpartition("@")
    return local, host.lower().removesuffix(".")


def _mail_subtree(value: str) -> tuple[str, str]:
    """One mailbox; or an empty local part and the host, or the domain after a leading dot."""
    return _mailbox(value) if "@" in value else ("", _subtree(value))


def email_permits(name: tuple[str, str], base: tuple[str, str]) -> bool:
    """Whether the base is the mailbox, its host, or with a leading dot a domain above its host."""
    if base[0]:
        return name == base
    return host_permits(name[1], base[1])


def email_excludes(name: tuple[str, str], base: tuple[str, str]) -> bool:
    """As `email_permits`, but an empty subtree excludes everything."""
    return base == ("", "") or email_permits(name, base)


def _uri_host(value: str) -> str:
    """The host name of a URI. Section 4.2.1.10 rejects a URI without one, or with an address instead."""
    match = _URI.match(value)
    if match is None or match[1].removesuffix(".").rpartition(".")[2].isdigit():
        raise ValueError(f"{value!r} has no host name")
    return match[1].lower().removesuffix(".")


def host_permits(host: str, base: str) -> bool:
    """Whether the base is the host, or with a leading dot a domain above it."""
    return host.endswith(base) if base.startswith(".") else host == base


def host_excludes(host: str, base: str) -> bool:
    """As `host_permits`, but an empty subtree excludes everything."""
    return not base or host_permits(host, base)


def _address(value: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if not isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise ValueError(f"{value} is not an address")  # noqa: TRY004 - it is the certificate's fault
    return value


def _same(value: Any) -> Any:
    return value


def _in_network(address: Any, network: Any) -> bool:
    return address.version == network.version and address in network


# Names of other kinds cannot be compared: a constraint of such a kind refuses the path.
KINDS: Final[dict[type[x509.GeneralName], NameKind]] = {
    x509.DNSName: NameKind(_dns_name, _subtree, dns_permits, dns_excludes),
    x509.RFC822Name: NameKind(_mailbox, _mail_subtree, email_permits, email_excludes),
    x509.UniformResourceIdentifier: NameKind(_uri_host, _subtree, host_permits, host_excludes),
    x509.IPAddress: NameKind(_address, _same, _in_network, _in_network),
    x509.DirectoryName: NameKind(_same, _same, Name.within, Name.may_be_within),
}
