"""Mutated headers: refused with a header's reason, or the genuine leaf; `FUZZ=100` makes a million of 10,000."""

from __future__ import annotations

import json
import os
import random
import re
from base64 import b64decode
from collections.abc import Callable

import pytest
from support.certificates import Authority

from authz.errors import Refused
from authz.headers import Selected, base64_der, decode, escaped_pem, present, rfc9440
from authz.model import CertificateForm, HeaderRules, PresentedChain
from authz.reasons import Gate, Reason

ROUNDS = 5_000 * int(os.environ.get("FUZZ", "1"))
CA = Authority.root().intermediate()
ALICE = CA.leaf("alice")
TEXT = present(ALICE.der, [CA.der])
JSON = json.dumps([{"hash": ALICE.sha256.hex(), "cert": ALICE.pem, "chain": [ALICE.pem, CA.pem]}]).encode()
SPICE = (
    b",",
    b";",
    b'"',
    b"\\",
    b"=",
    b"%",
    b"%0A",
    b"Cert=",
    b"Hash=",
    b";Chain=",
    b"[",
    b"{",
    b"}",
    b"\x00",
    b"\xff",
    b":",
    b" ",
    b"-----BEGIN%20CERTIFICATE-----%0A",
)


def flip(drawn: random.Random, value: bytes) -> bytes:
    """One octet changed."""
    at = drawn.randrange(len(value))
    return value[:at] + bytes([drawn.randrange(256)]) + value[at + 1 :]


def insert(drawn: random.Random, value: bytes) -> bytes:
    """Something that means something, somewhere."""
    at = drawn.randrange(len(value))
    return value[:at] + drawn.choice(SPICE) + value[at:]


def cut(drawn: random.Random, value: bytes) -> bytes:
    """A stretch left out."""
    at, end = sorted((drawn.randrange(len(value)), drawn.randrange(len(value))))
    return value[:at] + value[end:]


def repeat(drawn: random.Random, value: bytes) -> bytes:
    """A stretch said again."""
    at, end = sorted((drawn.randrange(len(value)), drawn.randrange(len(value))))
    return value[:end] + value[at:end] + value[end:]


CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (flip, flip, insert, insert, cut, repeat)


def outcome(value: bytes, rules: HeaderRules, beside: bytes | None = None) -> tuple[PresentedChain, ...] | Reason:
    """The chains, or the reason of the refusal; `beside` is the chain header's value."""
    try:
        return decode(Selected(value, beside, rules.form), rules)
    except Refused as refused:
        return refused.reason


@pytest.mark.fuzz
@pytest.mark.parametrize(("form", "value"), [(CertificateForm.XFCC, TEXT), (CertificateForm.XFCC_JSON, JSON)])
def test_mutated_header_is_refused_or_the_genuine_leaf(form: CertificateForm, value: bytes) -> None:
    """The hash beside the certificate holds: no mutation gives another leaf."""
    drawn, rules, kept = random.Random(7), HeaderRules(form=form), 0
    for _ in range(ROUNDS):
        mutated = value
        for _ in range(drawn.randint(1, 3)):
            mutated = drawn.choice(CHANGES)(drawn, mutated) or value
        chains = outcome(mutated, rules)
        if isinstance(chains, Reason):
            assert chains.gate is Gate.HEADER or chains is Reason.TOO_MANY_CERTIFICATES
            continue
        kept += 1
        stated = re.search(rb"[Hh]ash\"?[=:]", mutated) is not None
        assert not stated or all(one.leaf == ALICE.der for one in chains)
    assert kept > 0


WITHOUT_HASH = {
    CertificateForm.ESCAPED_PEM: escaped_pem.format((ALICE.der, CA.der)),
    CertificateForm.BASE64_DER: base64_der.format((ALICE.der, CA.der)),
    CertificateForm.RFC9440: rfc9440.format_certificate(ALICE.der),
}


@pytest.mark.fuzz
@pytest.mark.parametrize("form", WITHOUT_HASH)
def test_mutated_header_without_a_hash_is_refused_or_says_literally_what_is_read(form: CertificateForm) -> None:
    """Nothing is repaired, skipped or completed: every certificate read stands in the header, in base64."""
    drawn, rules, kept = random.Random(9), HeaderRules(form=form), 0
    value = WITHOUT_HASH[form]
    chain = rfc9440.format_chain((CA.der, ALICE.der)) if form is CertificateForm.RFC9440 else None
    for _ in range(2 * ROUNDS):
        mutated, beside = value, chain
        for _ in range(drawn.randint(1, 3)):
            if beside and drawn.random() < 0.5:
                beside = drawn.choice(CHANGES)(drawn, beside) or chain
            else:
                mutated = drawn.choice(CHANGES)(drawn, mutated) or value
        chains = outcome(mutated, rules, beside)
        if isinstance(chains, Reason):
            assert chains.gate is Gate.HEADER or chains is Reason.TOO_MANY_CERTIFICATES
            continue
        (found,), kept = chains, kept + 1
        said = re.sub(rb"%(..)", lambda escape: bytes.fromhex(escape[1].decode()), mutated + b"," + (beside or b""))
        # Several certificates may be one value, so that the base64 of the second is no part of the header.
        values = [b64decode(text + b"==") for text in re.findall(rb"[A-Za-z0-9+/]{4,}", b"".join(said.split()))]
        assert all(any(der in value for value in values) for der in (found.leaf, *found.intermediates))
    assert kept > 0
