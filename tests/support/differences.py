"""Where other validators' verdicts on random chains and their mutants differ from ours, row by row, with the clause."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from support.mutants import Node, forest


class Difference(NamedTuple):
    """A rule on which the two differ: what we do, in which scenarios (feature, what is broken), and by which clause."""

    we: Literal["accept", "refuse"]
    feature: str
    broken: str
    clause: str


# An empty feature stands for any.
OPENSSL: tuple[Difference, ...] = (
    Difference(
        "accept", "", "leaf for anything",
        "RFC 5280 section 4.2.1.12: anyExtendedKeyUsage MAY be refused; SERVICE_POLICY does",
    ),
    Difference(
        "accept", "", "CA for anything",
        "RFC 5280 section 4.2.1.12: the same, and section 6.1 asks no purpose of a CA",
    ),
    Difference(
        "accept", "", "leaf hints at another key",
        "RFC 5280 sections 4.2.1.1 and 6.1.3 (a) (1): a key identifier helps to build a path, the signature decides",
    ),
    Difference(
        "accept", "cross-signed CA", "one revoked",
        "RFC 5280 section 6.1: each path is validated for itself, and the one through the other certificate is good;"
        " OpenSSL does not try a second one",
    ),
    Difference("accept", "cross-signed CA", "CA of version 1", "RFC 5280 section 6.1: the same"),
    Difference(
        "accept", "", "anchor of version 1",
        "RFC 5280 section 6.1.4 (k): of the older versions something out of band says who is a CA, here the operator",
    ),
    Difference("refuse", "", "leaf's key too short", "NIST SP 800-131A: no RSA key below 2,048 bits, whosever it is"),
    Difference("refuse", "plain", "salt too long", "RFC 4055 section 3.1: a salt has a digest's length"),
    Difference(
        "refuse", "plain", "removal in a complete CRL",
        "RFC 5280 section 5.3.1: removeFromCRL stands in delta CRLs only",
    ),
    Difference("refuse", "delta CRL", "delta expired", "RFC 5280 section 6.3.3 (a) (1): only a current delta is used"),
    Difference("refuse", "delta CRL", "delta of the future", "RFC 5280 section 5.1.2.4: it has not been issued yet"),
)  # fmt: skip


_ANCHOR = (
    "RFC 5280 sections 6.1.1 (d) and 6.2: it takes name and key of an anchor alone; what else the anchor's certificate"
    " states may count, and does here"
)
_REASONS = "RFC 5280 section 6.3.3 (d): reasons of the distribution point and of the CRL; it reads only the CRL's"

CERTVALIDATOR: tuple[Difference, ...] = (
    Difference(
        "accept", "", "leaf for anything",
        "RFC 5280 section 4.2.1.12: anyExtendedKeyUsage MAY be refused; SERVICE_POLICY does",
    ),
    Difference(
        "accept", "", "leaf hints at another key",
        "RFC 5280 sections 4.2.1.1 and 6.1.3 (a) (1): a key identifier helps to build a path, the signature decides",
    ),
    Difference(
        "accept", "plain", "an older CRL listed the leaf",
        "RFC 5280 sections 5.3.1 and 6.3.3 (a): a hold ends when the next CRL does not list it; it asks the older too",
    ),
    *(
        Difference("refuse", "", f"anchor {broken}", _ANCHOR)
        for broken in (
            "expired", "is no CA", "may not sign certificates", "below which no CA may follow",
            "excludes the leaf's name", "with an unknown critical extension", "for servers",
        )
    ),
    Difference(
        "refuse", "", "CA for servers",
        "RFC 5280 section 4.2.1.12: the purposes of a CA, which every other implementation reads as a limit",
    ),
    Difference("refuse", "", "leaf's key too short", "NIST SP 800-131A: no RSA key below 2,048 bits, whosever it is"),
    Difference(
        "refuse", "", "entry with an unknown critical extension",
        "RFC 5280 section 5.3: such a CRL determines no status; it looks at the certificate's own entry alone",
    ),
    Difference(
        "refuse", "", "CRL signed by another key",
        "RFC 5280 section 6.3.3 (g): its signature is invalid; it remembers the issuer before it verifies",
    ),
    *(
        Difference(
            "refuse", feature, "signer revoked",
            "RFC 5280 section 6.3.3 (f): the path of the signer is validated; it takes a signer that it met before",
        )
        for feature in ("indirect CRL", "CRL by another key")
    ),
    Difference(
        "refuse", "CRL by another key", "signer certified by itself",
        "RFC 5280 section 6.3.3 (f): the key is certified by the CA that certified the issuer's own (`crl_signers`)",
    ),
    *(
        Difference(
            "refuse", "re-keyed CA", broken,
            "RFC 5280 section 6.3.3 (f): the status of a signer cannot rest on a CRL that it signed",
        )
        for broken in ("no CRL of the certified key", "CRL missing", "CA may not sign CRLs")
    ),
    *(
        Difference("refuse", "delta CRL", broken, "RFC 5280 section 5.2.4 (c), (d): their numbers do not combine")
        for broken in ("delta not newer", "delta of a later base")
    ),
    Difference(
        "refuse", "cross-signed CA", "CRL missing",
        "RFC 5280 section 6.3.3 (b) (1): the CRL is the issuer's, or a point names its own; it takes one of any CA that"
        " the issuer certified",
    ),
    Difference(
        "refuse", "plain", "removal in a complete CRL",
        "RFC 5280 section 5.3.1: removeFromCRL stands in delta CRLs only",
    ),
    *(
        Difference("refuse", "points for reasons", broken, _REASONS)
        for broken in ("a point's CRL missing", "CRLs for other reasons", "reasons left out", "CRL missing")
    ),
    *(
        Difference(
            "refuse", "name constraints", broken,
            "RFC 9598 section 6, RFC 5280 section 4.2.1.10: addresses beyond ASCII, and in a subject beside others",
        )
        for broken in (
            "outside what is permitted", "inside what is excluded", "not permitted by the upper CA",
            "excluded by the upper CA",
        )
    ),
)  # fmt: skip


def explained(rows: Iterable[Difference], we: str, feature: str, broken: str) -> Difference | None:
    """The row that says why only one of the two accepts."""
    return next((row for row in rows if row[:3] in {(we, feature, broken), (we, "", broken)}), None)


class MutantDifference(NamedTuple):
    """Why pyhanko-certvalidator refuses a mutant that we accept: by its words, and the bytes before and after."""

    explains: Callable[[str, bytes, bytes], bool]
    clause: str


_VERDICTS = ("InsufficientRevinfoError: ", "PathBuildingError: ", "PathValidationError: ", "RevokedError: ")


def _parser_fails(said: str, _before: bytes, _after: bytes) -> bool:
    return not said.startswith(_VERDICTS) or "processing error" in said


def _differ_in_key_identifiers(said: str, before: bytes, after: bytes) -> bool:
    unfound = said.startswith(_VERDICTS[:2]) or "signature of the end-entity certificate" in said
    return unfound and _key_identifiers(before) != _key_identifiers(after)


def _is_of_deltas(said: str, before: bytes, _after: bytes) -> bool:
    return "Delta CRL" in said or any(_extension(identifier) in before for identifier in _OF_DELTAS)


MUTANTS: tuple[MutantDifference, ...] = (
    MutantDifference(
        _parser_fails,
        "RFC 5280 sections 4.2, 5.2: an extension that no rule asks for may hold anything; section 4.1.2.4: names may"
        " have attributes of any type; its parser fails on both",
    ),
    MutantDifference(
        _differ_in_key_identifiers,
        "RFC 5280 sections 4.2.1.1, 4.2.1.2, 5.2.1, 6.1.3 (a) (1): key identifiers find certificates, and refuse none;"
        " it looks for issuer and CRL by them alone",
    ),
    MutantDifference(
        _is_of_deltas,
        "RFC 5280 section 5.2.4 (a), (b): issuer and scope say which delta belongs to a CRL; it asks for freshestCRL,"
        " and takes deltas in the order in which they come",
    ),
)

_OF_DELTAS = tuple(map(bytes.fromhex, ("551d1b", "551d2e")))
_KEY_IDENTIFIERS = frozenset(map(bytes.fromhex, ("551d0e", "551d23")))


def _extension(identifier: bytes) -> bytes:
    return bytes((0x06, len(identifier))) + identifier


def _key_identifiers(der: bytes) -> list[bytes]:
    try:
        signed = forest(der)[0].children[0]
    except (ValueError, IndexError):
        return []
    return [child.encoded() for node in signed.below() for child in node.children if _holds_key_identifier(child)]


def _holds_key_identifier(extension: Node) -> bool:
    return bool(extension.children) and extension.children[0].content in _KEY_IDENTIFIERS
