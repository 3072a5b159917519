"""The one place that calls the parser: whatever it raises is one error, and what it is given is what was asked for."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from support.certificates import Authority
from support.raw_der import handmade, raw_name, sequence, tlv

import authz
from authz.pki.x509 import library
from authz.pki.x509.library import ParserError, call, load_certificate, load_crl, named, parser_error, pem_blocks

ROOT = Authority.root()
PANIC = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


def raising(error: BaseException) -> None:
    """A parser that fails."""
    raise error


@pytest.mark.parametrize("error", [KeyError(4), ValueError("x"), TypeError(), x509.InvalidVersion("2", 2), PANIC("x")])
def test_whatever_the_parser_raises_is_one_error(error: BaseException) -> None:
    """A panic in Rust is no `Exception`."""
    with pytest.raises(ParserError):
        call(raising, error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), MemoryError()])
def test_what_is_not_the_parsers_is_raised_again(error: BaseException) -> None:
    """An interrupt ends the process, not the certificate; and where there is no memory, no bytes are at fault."""
    with pytest.raises(type(error)):
        parser_error(error)


def test_text_of_a_lookup_error_says_what_it_is() -> None:
    """A number alone says nothing."""
    assert str(parser_error(KeyError(4))) == "KeyError: 4"
    assert str(parser_error(ValueError("bad"))) == "bad"


def test_text_of_the_parser_names_the_fields_in_words() -> None:
    """Not in Rust."""
    with pytest.raises(ParserError, match=r"^DER: unexpected tag in validity$"):
        load_certificate(ROOT.crl())
    with pytest.raises(ParserError, match=r"^DER: extra data$"):
        load_certificate(ROOT.der + b"\0")


@pytest.mark.parametrize(
    ("oid", "text"),
    [("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.2 (clientAuth)"), ("1.2.3.4", "1.2.3.4"), ("2.5 odd", "2.5 odd"), ("", "")],
)
def test_identifier_is_shown_with_its_name(oid: str, text: str) -> None:
    """If it has one."""
    assert named(oid) == text


@pytest.mark.parametrize("data", [b"", b"\x30\x00", ROOT.der[:-1], ROOT.der + b"\0", ROOT.crl()])
def test_bytes_that_no_table_makes_readable_are_refused(data: bytes) -> None:
    """As the parser itself would refuse them."""
    with pytest.raises(ParserError):
        load_certificate(data)
    with pytest.raises(ParserError):
        load_crl(data[:-1])


def test_certificate_that_is_still_refused_in_its_other_spelling_is_refused() -> None:
    """Two things are wrong, and one of them is tolerated."""
    name = sequence(tlv(0x31, raw_name(b"a@b", 0x13)[4:], raw_name(b"\n", 0x13)[4:]))
    with pytest.raises(ParserError):
        load_certificate(handmade(ROOT.key, issuer=name, subject=name))  # type: ignore[arg-type]


def test_extensions_are_read_without_a_certificate() -> None:
    """In the order in which they are asked for; nothing of them is read before."""
    basic, usage = (bytes.fromhex("551d13"), bytes.fromhex("30030101ff")), (bytes.fromhex("551d0f"), b"\3\2\7\x80")
    usages, constraints = library.read_extensions([usage, basic])
    assert isinstance(usages, x509.KeyUsage)
    assert constraints == x509.BasicConstraints(ca=True, path_length=None)
    assert library.read_extensions([]) == []
    with pytest.raises(ParserError):
        library.read_extensions([(bytes.fromhex("2b06010505070118"), bytes.fromhex("3003020104"))])


def test_extension_of_a_crl_and_general_names_are_read() -> None:
    """Each without what would be around it."""
    number = library.read_crl_extension(bytes.fromhex("551d14"), bytes.fromhex("020105"))
    assert number == x509.CRLNumber(5)
    assert library.read_general_names(sequence(tlv(0x82, b"a.test"))) == [x509.DNSName("a.test")]


def test_pem_blocks_are_what_the_library_finds() -> None:
    """Several, around them what is no PEM, lines that end with a carriage return, headers in front."""
    pem = ROOT.pem.encode()
    assert pem_blocks(b"x\n" + pem + b"y\n" + pem.replace(b"\n", b"\r\n"), b"CERTIFICATE") == [ROOT.der] * 2
    assert pem_blocks(pem.replace(b"E-----\n", b"E-----\nA: b\nC: d\n\n", 1), b"CERTIFICATE") == [ROOT.der]
    # A megabyte of beginnings is searched once, and not from each of them.
    for broken in (b"", pem[:-9], pem.replace(b"M", b"!", 1), b"-----BEGIN CERTIFICATE-----" * 40_000):
        with pytest.raises(ValueError, match=r"PEM|base64"):
            pem_blocks(broken, b"CERTIFICATE")


@pytest.mark.slow
def test_no_other_module_calls_the_parser() -> None:
    """Of certificates and CRLs."""
    package = Path(authz.__file__).parent
    calls = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith(("load_der_x509", "load_pem_x509"))
    }
    assert {path for path in calls if not path.startswith("demo/")} == {"pki/x509/library.py"}
