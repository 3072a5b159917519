"""The kinds of names that name constraints compare, and how each lies inside a subtree (RFC 5280 section 4.2.1.10).

A name that is not what its kind says (a DNS name with a space in it, a URI without a host) is in no
subtree that could be told: it raises `ValueError`, and so does a subtree that is not well-formed.

What the section leaves open is read to the narrow side: a DNS subtree with a leading dot permits only
names below it and excludes its own name too; an empty e-mail or URI subtree permits nothing and
excludes everything; a wildcard is excluded as soon as a name that it stands for is.
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

# RFC 1034 section 3.5, with the underscore that is seen in the field. \Z: a $ would let a line feed through.
# Possessive, as nothing after a label can begin with its letters: what does not match is given up at once.
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
    """One name or subtree: its kind (for otherName the type identifier is part of it) and its value."""

    kind: tuple[type[x509.GeneralName], str]
    value: Any

    @property
    def text(self) -> str:
        """For people only; escape it where it is shown."""
        return self.value.text if isinstance(self.value, Name) else str(self.value)


class Kind(NamedTuple):
    """How names of one kind are read, subtrees of it are read, and one is tested for lying in the other."""

    name: Callable[[Any], Any]
    subtree: Callable[[Any], Any]
    permits: Callable[[Any, Any], bool]
    excludes: Callable[[Any, Any], bool]


def comparable_names(names: Iterable[x509.GeneralName]) -> tuple[Comparable, ...]:
    """Names as they are compared."""
    return tuple(_comparable(one) for one in names)


def names_of(alternative: Iterable[x509.GeneralName], subject: Name) -> tuple[Comparable, ...]:
    """Every name that constraints apply to: alternative names, the subject, the e-mail addresses in either.

    An address in the subject counts when there is no e-mail alternative name (section 4.2.1.10), and
    beside one too: what may be read as an address must be allowed as one. Raises `ValueError`.
    """
    names = comparable_names(alternative)
    # RFC 9598 section 6, which extends constraints of e-mail addresses to those beyond ASCII.
    mailboxes = [_utf8_string(one.value) for one in names if one.kind == (x509.OtherName, SMTP_UTF8_MAILBOX)]
    if subject:
        names += (Comparable((x509.DirectoryName, ""), subject),)
    addresses = (*mailboxes, *subject.email_addresses())
    return names + tuple(Comparable((x509.RFC822Name, ""), one) for one in addresses)


def _utf8_string(value: bytes) -> str:
    start, end = der.only(value, der.UTF8_STRING)
    return value[start:end].decode("utf-8")


def _comparable(one: x509.GeneralName) -> Comparable:
    if isinstance(one, x509.DirectoryName):
        return Comparable((x509.DirectoryName, ""), Name(one.value))
    if isinstance(one, x509.OtherName):
        return Comparable((x509.OtherName, one.type_id.dotted_string), one.value)
    return Comparable((type(one), ""), one.value)


def _dns_name(value: str) -> str:
    return _matching(_DNS_NAME, value)


def _subtree(value: str) -> str:
    return _matching(_SUBTREE, value)


def _matching(pattern: re.Pattern[str], value: str) -> str:
    """The value without regard to case and to the dot of the root."""
    if pattern.match(value) is None:
        raise ValueError(f"{value!r} is not well-formed")
    return value.lower().removesuffix(".")


def dns_permits(name: str, base: str) -> bool:
    """Equal, or with labels added on the left; a base with a leading dot covers names below it only."""
    if base.startswith("."):
        return name.endswith(base)
    return base in {"", name} or name.endswith(f".{base}")


def dns_excludes(name: str, base: str) -> bool:
    """Whether the name, or one that its wildcard stands for, lies in the subtree or is its root."""
    base = base.removeprefix(".")
    return dns_permits(name, base) or (name.startswith("*.") and base.partition(".")[2] == name[2:])


def _mailbox(value: str) -> tuple[str, str]:
    """Local part, exactly, and host without regard to case (section 7.5)."""
    if _MAILBOX.match(value) is None:
        raise ValueError(f"{value!r} is not well-formed")
    local, _, host = value.rpartition("@")
    return local, host.lower().removesuffix(".")


def _mail_subtree(value: str) -> tuple[str, str]:
    """One mailbox, or with an empty local part the host, or the domain behind a leading dot."""
    return _mailbox(value) if "@" in value else ("", _subtree(value))


def email_permits(name: tuple[str, str], base: tuple[str, str]) -> bool:
    """One mailbox, all of one host, or with a leading dot all hosts below a domain."""
    if base[0]:
        return name == base
    return host_permits(name[1], base[1])


def email_excludes(name: tuple[str, str], base: tuple[str, str]) -> bool:
    """The same; an empty subtree excludes everything."""
    return base == ("", "") or email_permits(name, base)


def _uri_host(value: str) -> str:
    """The host of a URI. Section 4.2.1.10 refuses one without, or with an address instead."""
    found = _URI.match(value)
    if found is None or found[1].removesuffix(".").rpartition(".")[2].isdigit():
        raise ValueError(f"{value!r} has no host name")
    return found[1].lower().removesuffix(".")


def host_permits(host: str, base: str) -> bool:
    """That host, or with a leading dot every host below."""
    return host.endswith(base) if base.startswith(".") else host == base


def host_excludes(host: str, base: str) -> bool:
    """The same; an empty subtree excludes everything."""
    return not base or host_permits(host, base)


def _address(value: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if not isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise ValueError(f"{value} is no address")  # noqa: TRY004 - it is the certificate's fault
    return value


def _same(value: Any) -> Any:
    return value


def _in_network(address: Any, network: Any) -> bool:
    return address.version == network.version and address in network


def _below(name: Name, base: Name) -> bool:
    return name.within(base)


# Kinds that are not here cannot be compared, and refuse.
KINDS: Final[dict[type[x509.GeneralName], Kind]] = {
    x509.DNSName: Kind(_dns_name, _subtree, dns_permits, dns_excludes),
    x509.RFC822Name: Kind(_mailbox, _mail_subtree, email_permits, email_excludes),
    x509.UniformResourceIdentifier: Kind(_uri_host, _subtree, host_permits, host_excludes),
    x509.IPAddress: Kind(_address, _same, _in_network, _in_network),
    x509.DirectoryName: Kind(_same, _same, _below, _below),
}
