"""The one place that calls the parser of cryptography: whatever it raises for bytes that it refuses is `ParserError`.

What it refuses is given to it once more in the spelling of `authz.pki.x509.tolerated`, so that a certificate that needs
nothing costs nothing. Of extensions it reads only those that are asked for.
"""

from __future__ import annotations

import binascii
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509

from authz.pki.x509 import der, tolerated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

_PANIC: Final = "pyo3_runtime"
"""The module of PanicException, which is no `Exception` and cannot be imported."""


class ParserError(ValueError):
    """The parser refused the bytes, or failed on them."""


def parser_error(error: BaseException) -> ParserError:
    """What the parser raised, as one kind of error; raises anything else again (an interrupt, the end of a task).

    And a lack of memory, which says nothing of the bytes: a good CRL would be put aside as malformed.
    """
    if isinstance(error, MemoryError) or (not isinstance(error, Exception) and type(error).__module__ != _PANIC):
        raise error
    return ParserError(_plain(str(error)) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")


_PARSE_ERROR: Final = re.compile(r"error parsing asn1 value: ParseError \{ kind: (\w+).*?(?:, location: \[(.*)\])? \}")
_FIELD: Final = re.compile(r'::(?!tbs_cert)(\w+)"')


def _plain(text: str) -> str:
    """What the parser says, with the fields that it went through, in place of how Rust writes an enumeration."""
    match = _PARSE_ERROR.fullmatch(text)
    if match is None:
        return text
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", match[1]).lower()
    fields = ".".join(_FIELD.findall(match[2] or ""))
    return f"DER: {kind} in {fields}" if fields else f"DER: {kind}"


def named(oid: str) -> str:
    """A dotted object identifier, with the name that the library has for it, if any; any other text as it is."""
    name = ""
    with suppress(ParserError):
        name = call(x509.ObjectIdentifier, oid)._name  # noqa: SLF001 - it has no public name
    return oid if name in {"", "Unknown OID"} else f"{oid} ({name})"


def call(read: Callable[..., T], *arguments: object) -> T:
    """What `read` returns. Raises `ParserError` for whatever it raises."""
    try:
        return read(*arguments)
    except BaseException as error:
        raise parser_error(error) from error


def load_certificate(data: bytes) -> x509.Certificate:
    """The library's object of a certificate. Raises `ParserError`."""
    try:
        return x509.load_der_x509_certificate(data)
    except BaseException as error:  # noqa: BLE001 - likewise
        return _again(x509.load_der_x509_certificate, tolerated.certificate, data, error)


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """The library's object of a CRL. Raises `ParserError`."""
    try:
        return x509.load_der_x509_crl(data)
    except BaseException as error:  # noqa: BLE001 - likewise
        return _again(x509.load_der_x509_crl, tolerated.crl, data, error)


def _again(load: Callable[[bytes], T], plain: Callable[[bytes], bytes], data: bytes, error: BaseException) -> T:
    parser_error(error)  # raises what is no error of the parser
    try:
        rewritten = plain(data)
    except ValueError:
        rewritten = data
    if rewritten == data:
        # Made only now: an error that is raised and held is a cycle.
        raise parser_error(error) from error
    return call(load, rewritten)


def pem_blocks(data: bytes, label: bytes) -> list[bytes]:
    """What each PEM block of that label holds (RFC 7468), at least one. Raises `ValueError`."""
    blocks = list(_between(b"-----BEGIN %b-----" % label, b"-----END %b-----" % label, data))
    if not blocks:
        raise ValueError(f"no PEM block of {label.decode()}")
    # Behind headers (RFC 1421), if there are any, and an empty line.
    texts = [block.replace(b"\r", b"").partition(b"\n\n")[2] if b":" in block else block for block in blocks]
    return [binascii.a2b_base64(b"".join(text.split()), strict_mode=True) for text in texts]


def _between(begin: bytes, end: bytes, data: bytes) -> Iterator[bytes]:
    """What stands between the two, in the time that reading takes: a pattern searches anew from each beginning."""
    stop = 0
    while (start := data.find(begin, stop)) >= 0 and (stop := data.find(end, start + len(begin))) >= 0:
        yield data[start + len(begin) : stop]
        stop += len(end)


# A certificate and a CRL of nothing but extensions: the library reads these in no other form.
_ALGORITHM: Final = bytes.fromhex("300306012a")
_NOTHING: Final = bytes.fromhex("3000")
_DATE: Final = der.tlv(der.UTC_TIME, b"000101000000Z")
_EMPTY: Final = bytes.fromhex("030100")
_CERTIFICATE: Final = (
    bytes.fromhex("a003020102020101") + _ALGORITHM + _NOTHING + der.tlv(der.SEQUENCE, _DATE, _DATE) + _NOTHING
    + der.tlv(der.SEQUENCE, _ALGORITHM, _EMPTY)
)  # fmt: skip
_CRL: Final = bytes.fromhex("020101") + _ALGORITHM + _NOTHING + _DATE


def read_extensions(values: Iterable[tuple[bytes, bytes]]) -> list[x509.ExtensionType]:
    """The library's objects of extensions of a certificate: (content of the OID, value) each. Raises `ParserError`."""
    return _read(x509.load_der_x509_certificate, _CERTIFICATE, der.EXTENSIONS, values)


def read_crl_extension(oid: bytes, value: bytes) -> x509.ExtensionType:
    """The library's object of one extension of a CRL. Raises `ParserError`."""
    return _read(x509.load_der_x509_crl, _CRL, 0xA0, [(oid, value)])[0]


def read_general_names(value: bytes) -> list[x509.GeneralName]:
    """The names in GeneralNames (RFC 5280 section 4.2.1.6). Raises `ValueError`."""
    (names,) = read_extensions([(SUBJECT_ALTERNATIVE_NAME, tolerated.value(value))])
    assert isinstance(names, x509.SubjectAlternativeName)  # noqa: S101 - of this OID
    return list(names)


SUBJECT_ALTERNATIVE_NAME: Final = bytes.fromhex("551d11")


def _read(
    load: Callable[[bytes], x509.Certificate | x509.CertificateRevocationList],
    before: bytes,
    tag: int,
    values: Iterable[tuple[bytes, bytes]],
) -> list[x509.ExtensionType]:
    stated = [der.tlv(der.SEQUENCE, der.tlv(der.OID, oid), der.tlv(der.OCTET_STRING, value)) for oid, value in values]
    tbs = der.tlv(der.SEQUENCE, before, der.tlv(tag, der.tlv(der.SEQUENCE, *stated)))
    parsed = call(load, der.tlv(der.SEQUENCE, tbs, _ALGORITHM, _EMPTY))
    return call(_values, parsed)


def _values(parsed: x509.Certificate | x509.CertificateRevocationList) -> list[x509.ExtensionType]:
    return [extension.value for extension in parsed.extensions]
