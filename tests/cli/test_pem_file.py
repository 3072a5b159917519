"""The files an operator gives: a private key in one is noticed however it is written, and nothing of it shown."""

from __future__ import annotations

import gzip
import shlex
import shutil
import subprocess
from base64 import b64encode, encodebytes
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from support.certificates import chain_pem
from support.command_world import ALICE, CA, CRL_LIFE, ROOT
from support.requirements import need

from authz.cli.pem_file import read_certificates, read_crl
from authz.errors import ConfigError

KEY = ALICE.key
PEM = ALICE.key_pem
BODY = PEM.splitlines()[1]
LABEL = "BEGIN PRIVATE KEY"
LOCKED = BestAvailableEncryption(b"password")
SPELLED = {
    "as it should be": PEM,
    "blanks inside": PEM.replace(f"-----{LABEL}-----", f"----- {LABEL} -----"),
    "blanks before": PEM.replace("-----BEGIN", "   \t-----BEGIN"),
    "lower case": PEM.lower(),
    "four dashes": PEM.replace("-----", "----"),
    "dashes of a word processor": PEM.replace("-----", "\u2014\u2014"),
    "no dashes": PEM.replace("-----", ""),
    "any": PEM.replace(LABEL, "BEGIN ANY PRIVATE KEY"),
    "encrypted": PEM.replace(LABEL, "BEGIN ENCRYPTED PRIVATE KEY"),
    "underscores": PEM.replace("BEGIN PRIVATE KEY", "BEGIN_PRIVATE_KEY"),
    "SSH2": PEM.replace(f"-----{LABEL}-----", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"),
    "PGP": PEM.replace(LABEL, "BEGIN PGP PRIVATE KEY BLOCK"),
    "quoted mail": PEM.replace("-----BEGIN", "> -----BEGIN"),
    "PuTTY": f"PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\nEncryption: none\nPrivate-Lines: 1\n{BODY}\n",
    "openssl pkey -text": f"Private-Key: (256 bit)\npriv:\n    00:11\n{BODY}\n",
}
"""A key as text, in every dress it was met in."""


@pytest.mark.parametrize("form", ["plain", "CRLF", "CR", "BOM", "UTF-16"])
@pytest.mark.parametrize("spelled", SPELLED)
def test_private_key_beside_a_certificate_is_noticed_however_it_is_written(
    tmp_path: Path, spelled: str, form: str
) -> None:
    """It refuses the file, says so, and shows nothing of the key; in UTF-16 the certificate is no help either."""
    text = ALICE.pem + SPELLED[spelled]
    data = {
        "plain": text.encode(),
        "CRLF": text.replace("\n", "\r\n").encode(),
        "CR": text.replace("\n", "\r").encode(),
        "BOM": (SPELLED[spelled] + ALICE.pem).encode("utf-8-sig"),
        "UTF-16": text.encode("utf-16"),
    }[form]
    refused(tmp_path, data)


def refused(folder: Path, data: bytes) -> None:
    """The file is refused for the private key in it, and the error quotes nothing of it."""
    path = folder / "file.pem"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="holds a private key") as caught:
        read_certificates(path)
    assert BODY[:16] not in str(caught.value) + caught.value.hint


KEYS = {
    "PKCS#8": KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "PKCS#8, encrypted": KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, LOCKED),
    "RFC 5915": KEY.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    "PKCS#12": pkcs12.serialize_key_and_certificates(b"alice", KEY, ALICE.certificate, None, LOCKED),
    "OpenSSH": KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    "JKS": b"\xfe\xed\xfe\xed\x00\x00\x00\x02" + bytes(64),
}


@pytest.mark.parametrize("kind", KEYS)
def test_private_key_alone_is_noticed_in_every_container(tmp_path: Path, kind: str) -> None:
    """In DER, in OpenSSH's own, and in stores of keys, locked or not."""
    refused(tmp_path, KEYS[kind])


def test_certificate_under_an_odd_label_is_not_passed_over(tmp_path: Path) -> None:
    """A chain of which one block counts and the other does not would be half of what its operator gave."""
    path = tmp_path / "chain.pem"
    path.write_text(ALICE.pem + CA.pem.replace("-----BEGIN CERTIFICATE-----", "---- BEGIN CERTIFICATE ----"))
    with pytest.raises(ConfigError, match="does not begin as PEM does"):
        read_certificates(path)


@pytest.mark.parametrize("text", ["", "subject=CN = x-begin\n", "X509v3 Private Key Usage Period:\n", "\ufeff", "  "])
def test_text_between_certificates_is_no_key(tmp_path: Path, text: str) -> None:
    """`openssl x509 -text` writes much, of which a period of the private key is the nearest to one."""
    path = tmp_path / "chain.pem"
    path.write_text(text + "subject=CN = alice\n" + ALICE.pem + "Certificate:\n" + CA.pem, encoding="utf-8")
    assert [one.der for one in read_certificates(path)] == [ALICE.der, CA.der]


def test_openssl_text_of_a_chain_is_taken(tmp_path: Path) -> None:
    """As operators keep it."""
    path = tmp_path / "chain.pem"
    path.write_text(chain_pem(ALICE, CA, ROOT))
    need("openssl", found=shutil.which("openssl") is not None)
    command = ["openssl", "storeutl", "-certs", "-text", str(path)]
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert len(read_certificates(path)) == 3


def test_private_key_beside_a_crl_is_noticed(tmp_path: Path) -> None:
    """Under an odd label, too."""
    path = tmp_path / "crl.pem"
    path.write_text(SPELLED["blanks inside"])
    with pytest.raises(ConfigError, match="holds a private key"):
        read_crl(path)
    crl = CA.crl(**CRL_LIFE)
    path.write_bytes(crl)
    assert read_crl(path).der == crl


def p7b(encoding: Encoding) -> bytes:
    """Alice's certificate as Windows exports it."""
    return pkcs7.serialize_certificates([ALICE.certificate], encoding)


CONTAINERS = {
    "PKCS#12": (KEYS["PKCS#12"], "is a PKCS#12 file", "openssl pkcs12 -in "),
    "JKS": (KEYS["JKS"], "is a Java key store", "keytool -exportcert -rfc -keystore "),
    "PKCS#7": (pkcs7.serialize_certificates([ALICE.certificate], Encoding.DER), "is a PKCS#7 file", "openssl pkcs7 "),
    "PKCS#7, PEM": (
        pkcs7.serialize_certificates([ALICE.certificate], Encoding.PEM),
        "is a PKCS#7 file",
        "openssl pkcs7 ",
    ),
}


def text_of(der: bytes, label: str) -> str:
    """PEM under any label."""
    return f"-----BEGIN {label}-----\n{b64encode(der).decode()}\n-----END {label}-----\n"


CRLS = [CA.crl(**CRL_LIFE), ROOT.crl(**CRL_LIFE)]
TRUSTED = text_of(CA.der, "TRUSTED CERTIFICATE")
ODD_FILES = {
    "label of certutil": (read_crl, text_of(CRLS[0], "CERTIFICATE"), "label CERTIFICATE, as certutil", "sed "),
    "several": (read_crl, "".join(text_of(crl, "X509 CRL") for crl in CRLS), "holds 2 CRLs, not one", "csplit "),
    "UTF-16": (read_crl, text_of(CRLS[0], "X509 CRL").encode("utf-16"), "text in UTF-16", "iconv "),
    "UTF-16 of a certificate": (read_certificates, CA.pem.encode("utf-16"), "text in UTF-16", "iconv "),
    "gzip": (read_crl, gzip.compress(CRLS[0]), "compressed by gzip", "gunzip "),
    "base64 of PEM": (read_certificates, b64encode(CA.pem.encode()), "base64 of PEM", "base64 "),
    "base64 of DER": (read_crl, encodebytes(CRLS[0]), "base64 without PEM's first line", "base64 "),
    "line ends of a string": (read_certificates, CA.pem.replace("\n", "\\n"), "written out in place of its", "printf "),
    "OpenSSL's label": (read_certificates, TRUSTED, "holds a TRUSTED CERTIFICATE", "openssl x509 "),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_hint_makes_an_odd_file_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The line works as it is pasted."""
    read, content, said, command = ODD_FILES[kind]
    monkeypatch.chdir(tmp_path)
    path = Path("it's odd")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said) as caught:
        read(path)
    line = caught.value.hint.partition(": ")[2]
    assert line.startswith(command)
    need(command.strip(), found=shutil.which(command.split()[0]) is not None)
    subprocess.run(line, shell=True, capture_output=True, check=True)  # noqa: S602 - the line to be tried
    for made in set(Path().iterdir()) - {path}:
        read(made)


@pytest.mark.parametrize("data", [text_of(CRLS[0], "X509 CRL"), text_of(CRLS[0], "CERTIFICATE")])
def test_crl_in_the_place_of_a_certificate_is_called_one(tmp_path: Path, data: str) -> None:
    """Under either label."""
    path = tmp_path / "x"
    path.write_text(data)
    with pytest.raises(ConfigError, match="is a CRL"):
        read_certificates(path)


@pytest.mark.parametrize("form", ["", "-outform DER "])
def test_hint_takes_the_crl_out_of_pkcs7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Beside a certificate."""
    need("openssl", found=shutil.which("openssl") is not None)
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_text(CA.pem)
    Path("a.crl").write_text(text_of(CRLS[0], "X509 CRL"))
    subprocess.run(f"openssl crl2pkcs7 -in a.crl -certfile ca.pem {form}-out b", shell=True, check=True)  # noqa: S602
    with pytest.raises(ConfigError, match="is a PKCS#7 file") as caught:
        read_crl(Path("b"))
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, capture_output=True, check=True)  # noqa: S602
    assert read_crl(Path("issuing.crl")).der == CRLS[0]


@pytest.mark.parametrize("read", [read_certificates, read_crl])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_container_is_called_by_its_name(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    """The hint is the line that takes the certificates out of it, whatever the file is called."""
    data, name, command = CONTAINERS[kind]
    path = tmp_path / "it's; rm -rf"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=name) as caught:
        read(path)
    words = shlex.split(caught.value.hint.partition("out: ")[2])
    assert caught.value.hint.partition("out: ")[2].startswith(command)
    assert str(path) in words


def test_hint_takes_certificates_out_of_pkcs12(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line works as it is pasted, but for the password."""
    need("openssl", found=shutil.which("openssl") is not None)
    monkeypatch.chdir(tmp_path)
    Path("alice.p12").write_bytes(KEYS["PKCS#12"])
    with pytest.raises(ConfigError) as caught:
        read_certificates(Path("alice.p12"))
    line = caught.value.hint.partition("out: ")[2]
    subprocess.run([*shlex.split(line), "-passin", "pass:password"], capture_output=True, check=True)
    assert [each.der for each in read_certificates(Path("certificates.pem"))] == [ALICE.der]


@pytest.mark.parametrize("url", ["https://api.acme.test", "HTTP://ca.test/root.pem", "https://ca.test/a b"])
def test_url_is_called_by_its_name(url: str) -> None:
    """Files are read; what a URL gives is its publisher's to confirm."""
    with pytest.raises(ConfigError, match="is a URL") as caught:
        read_certificates(Path(url))
    assert url.partition("://")[2] in str(caught.value)
    assert shlex.split(caught.value.hint)[-1].partition("://")[2] == url.partition("://")[2]


def test_text_that_is_no_certificate_is_neither_pem_nor_der(tmp_path: Path) -> None:
    """In words of its own, not of the parser."""
    path = tmp_path / "x"
    path.write_text("hello")
    with pytest.raises(ConfigError, match="neither PEM nor DER"):
        read_certificates(path)
