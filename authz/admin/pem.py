"""Certificates and CRLs of what an operator gives, in PEM or DER, and nothing else in it, above all no private key."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from authz.errors import ConfigError, Problem, Refused
from authz.pki import Certificate, Crl
from authz.pki.cache.extensions import KnownIssuer
from authz.pki.cache.shared import Cache, SharedCache
from authz.pki.x509.library import pem_blocks

ISSUERS: Final = Cache[bytes, KnownIssuer](SharedCache(1024 * 1024).tenant(None))
"""Issuers of which thousands of leaves are read, one behind the other: see `introduce`."""

_LABEL: Final = re.compile(rb"-----BEGIN ([^\r\n-]{1,64})-----")
_BEFORE: Final = re.compile(rb"(?:^|--)[^\w\n]{0,64}\Z", re.MULTILINE)
"""What stands before the word that was meant to begin a PEM block, however it is spelled."""

_SECRET: Final = re.compile(
    rb"BEGIN[^\n]{0,64}PRIVATE|^[^\w\n]{0,64}(?:PUTTY-USER-KEY-FILE|(?:RSA )?PRIVATE-(?:KEY|LINES))\b", re.MULTILINE
)
"""A private key in text: PEM under whatever label (OpenSSH, SSH2), PuTTY's, what `openssl pkey -text` writes."""

# What else such files are, by how they begin, and what makes them readable. PKCS#12 (RFC 7292 section 4) is a SEQUENCE
# whose first element is version 3; JKS, JCEKS, gzip (RFC 1952 section 2.3.1) and ZIP have numbers of their own.
_CONTAINERS: Final = (
    (
        re.compile(rb"\x30.{1,5}\x02\x01\x03", re.DOTALL),
        "a PKCS#12 file, which holds a private key beside its certificates",
        "take the certificates out: openssl pkcs12 -in {} -nokeys -out certificates.pem",
    ),
    (
        re.compile(rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce"),
        "a Java key store, which holds a private key beside its certificates",
        "take a certificate out: keytool -exportcert -rfc -keystore {} -alias ALIAS -file alice.pem",
    ),
    (re.compile(rb"\x1f\x8b"), "compressed by gzip", "take it out: gunzip -c {} > plain"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive", "take its files out, and give each: unzip {}"),
    # Of "-----BEGIN", and of a SEQUENCE of more than 127 bytes.
    (re.compile(rb"\s*LS0tLS1CRUdJTi"), "base64 of PEM, as Kubernetes keeps it", "decode it: base64 -d {} > plain"),
    (
        re.compile(rb"\s*MI[GHI][A-Za-z0-9+/\r\n]{61}"),
        "base64 without PEM's first line",
        "decode it: base64 -di {} > plain",
    ),
)

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
"""How text in UTF-16 begins."""

_PKCS7: Final = re.compile(rb"\x30.{1,5}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", re.DOTALL)
"""How PKCS#7 in DER begins (RFC 2315 section 7): a SEQUENCE whose first element is signedData."""

_SEQUENCE: Final = b"\x30"
"""With what DER begins."""

_FETCH: Final = "fetch it again from its CA, in DER or PEM"
_REISSUE: Final = "copy it again from its source; if that is the same, let its CA issue another: docs/validation.md"

_CRL_LABEL: Final = b"X509 CRL"


def certificates_in(data: bytes, name: str) -> list[Certificate]:
    """The certificates in PEM, in their order, or the one in DER, of what errors call by that name.

    Raises `ConfigError`, also when anything that is no certificate is in it, above all a private key.
    """
    return _certificates(name, data, blocks=_blocks(name, data, b"CERTIFICATE"))


def _blocks(name: str, data: bytes, wanted: bytes) -> int:
    """How many PEM blocks are in `data`, all of the label `wanted`. Raises `ConfigError` for any other."""
    # As editors and terminals of every kind write it: UTF-16, lines that end with a carriage return.
    text = data.replace(b"\0", b"").replace(b"\r", b"\n").upper()
    # A CRL may have megabytes: the words are looked for before what is around them.
    secret = (b"PRIVATE" in text or b"PUTTY-USER" in text) and _SECRET.search(text)
    _check_containers(name, data, wanted)
    if secret or _is_private_key(data):
        raise ConfigError(
            f"{name} holds a private key",
            hint="give what is public alone; a key that was passed around should be replaced",
        )
    labels = _LABEL.findall(data)
    hint = f"give {wanted.decode('ascii')} blocks and nothing else"
    for label in labels:
        if label == b"PKCS7":
            raise _pkcs7(name, "", wanted)
        if label != wanted:
            raise _of_another_label(name, data, labels) or ConfigError(
                f"{name} holds a {label.decode('latin-1')}", hint=hint
            )
    if data.startswith(_UTF16):
        line = f"iconv -f UTF-16 -t ASCII {shlex.quote(name)} > plain.pem"
        raise ConfigError(f"{name} is text in UTF-16, as PowerShell writes it", hint=f"write it anew: {line}")
    if b"-----\\n" in data:
        line = f'printf %b "$(cat {shlex.quote(name)})" > plain.pem'
        raise ConfigError(f"{name} has \\n written out in place of its line ends", hint=f"write it anew: {line}")
    # Nothing of it is quoted: what an odd label hides may be a secret.
    begun = data[:1] == _SEQUENCE or text.count(b"BEGIN") == len(labels) or _marks(text) == len(labels)
    if not begun:
        raise ConfigError(f"{name} holds a block that does not begin as PEM does", hint=hint)
    return len(labels)


def _of_another_label(name: str, data: bytes, labels: list[bytes]) -> ConfigError | None:
    """What is known of blocks with other labels than RFC 7468 has for their content; None if nothing is."""
    quoted = shlex.quote(name)
    if set(labels) <= {b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"}:
        line = f"openssl x509 -in {quoted} -out certificate.pem"
        return ConfigError(
            f"{name} holds a {labels[0].decode()}, as OpenSSL alone reads it", hint=f"write it anew: {line}"
        )
    if set(labels) == {b"X509 CRL"}:
        return ConfigError(f"{name} is a CRL", kind=Problem.IS_A_CRL, file=name)
    if labels == [b"CERTIFICATE"] and _is_crl(data):
        line = f"sed 's/ CERTIFICATE-/ X509 CRL-/' {quoted} > issuing.crl"
        said = f"{name} holds a CRL with the label CERTIFICATE, as certutil -encode writes it"
        return ConfigError(said, hint=f"give the file that was encoded, or put the label right: {line}")
    return None


def _check_containers(name: str, data: bytes, wanted: bytes) -> None:
    """Raises `ConfigError` for what is in another container, with the line that takes it out."""
    for begins, what, out in _CONTAINERS:
        if begins.match(data):
            raise ConfigError(f"{name} is {what}", hint=out.format(shlex.quote(name)))
    if _PKCS7.match(data):
        raise _pkcs7(name, "-inform DER ", wanted)


def _pkcs7(name: str, form: str, wanted: bytes) -> ConfigError:
    command = f"openssl pkcs7 {form}-in {shlex.quote(name)} -print_certs"
    if wanted == _CRL_LABEL:
        hint = f"take the CRL out: {command} | sed -n '/BEGIN X509 CRL/,/END X509 CRL/p' > issuing.crl"
    else:
        hint = f"take the certificates out: {command} -out certificates.pem"
    return ConfigError(f"{name} is a PKCS#7 file", hint=hint)


def _marks(text: bytes) -> int:
    """How many lines or dashes in `text`, in capitals, were meant to begin a PEM block."""
    starts = (match.start() for match in re.finditer(rb"BEGIN", text))
    return sum(_BEFORE.search(text, max(0, at - 80), at) is not None for at in starts)


def _is_private_key(data: bytes) -> bool:
    """Whether it is one in DER, encrypted or not (RFC 5958, RFC 8017, RFC 5915)."""
    if data[:1] != _SEQUENCE:
        return False
    try:
        load_der_private_key(data, None)
    except TypeError:  # it wants a password
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _certificates(name: str, data: bytes, *, blocks: int) -> list[Certificate]:
    try:
        if not blocks:
            if data[:1] != _SEQUENCE:
                raise ValueError("it is neither PEM nor DER")  # noqa: TRY301 - reported like all that the parser finds
            return [Certificate.parse(data)]
        ders = pem_blocks(data, b"CERTIFICATE")
        if len(ders) != blocks:
            raise ValueError("a certificate is cut short")  # noqa: TRY301 - reported like all that the parser finds
        certificates = list(map(_parse, ders))
    except (ValueError, Refused) as error:
        if _is_crl(data):
            raise ConfigError(f"{name} is a CRL", kind=Problem.IS_A_CRL, file=name) from error
        detail = error.detail if isinstance(error, Refused) else str(error)
        hint = _REISSUE if isinstance(error, Refused) else "give certificates in PEM or DER"
        raise ConfigError(f"{name} cannot be read: {detail}", hint=hint) from error
    return list(dict.fromkeys(certificates))


@lru_cache(64)
def _parse(der: bytes) -> Certificate:
    """Thousands of users have the same few CAs beside their certificates: each is read once."""
    return Certificate.parse(der, ISSUERS)


def introduce(leaf: Certificate) -> None:
    """Let the extensions of its issuer's next leaves be read by what they have in common with its own."""
    if not leaf.extensions.recalled:
        leaf.introduce_issuer(ISSUERS)


def _is_read(read: Callable[[bytes], object], data: bytes) -> bool:
    """Whether it is something else in DER, that an operator may have mistaken it for."""
    try:
        return data[:1] == _SEQUENCE and bool(read(data))
    except (ValueError, Refused):
        return False


def _is_crl(data: bytes) -> bool:
    """Whether it is a CRL in DER, or in one PEM block with the label CERTIFICATE, which Windows gives to anything."""
    if data[:1] != _SEQUENCE:
        try:
            (data,) = pem_blocks(data, b"CERTIFICATE")
        except ValueError:
            return False
    return _is_read(Crl, data)


def _crl_block(data: bytes, name: str) -> bytes:
    """The DER of the one CRL in PEM. Raises `ConfigError`, `ValueError`."""
    count = _blocks(name, data, _CRL_LABEL)
    if not count:
        raise ValueError("it is neither PEM nor DER")
    if count > 1:
        line = f"csplit -z -f issuing- -b %d.crl {shlex.quote(name)} '/BEGIN X509 CRL/' '{{*}}'"
        raise ConfigError(f"{name} holds {count} CRLs, not one", hint=f"give each in a file of its own: {line}")
    (der,) = pem_blocks(data, _CRL_LABEL)
    return der


def crl_in(data: bytes, name: str) -> Crl:
    """The CRL in PEM or DER, of what was read from what errors call by that name. Raises `ConfigError`."""
    try:
        _check_containers(name, data, _CRL_LABEL)
        # A CRL in DER may have megabytes to search, and chance could write a label into it.
        return Crl(data if data[:1] == _SEQUENCE else _crl_block(data, name))
    except (ValueError, Refused) as error:
        if _is_read(Certificate.parse, data):
            raise ConfigError(f"{name} is a certificate, not a CRL", hint=_FETCH) from error
        detail = error.detail if isinstance(error, Refused) else str(error)
        raise ConfigError(f"{name} is not a CRL: {detail}", hint=_FETCH) from error
