"""Addresses and hosts: what is public, what is not in all its spellings, and what the operator allows."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.crls.fetch.address_rules import AddressNotAllowed, AddressRules, HostRules, canonical_host
from authz.errors import ConfigError

PUBLIC = (
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
    "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15",
    "2606:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001::1", "2001:200::1", "3ffe::1",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
)  # fmt: skip
NOT_PUBLIC = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1",  # noqa: S104 - refused, not bound to
    "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255",
    "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254",
    "fd20:ce::254", "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "2001:2::1", "2001:10::1", "2001:20::1",
    "3fff::1", "4000::1", "5f00::1", "e000::1",
    "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:10.0.0.1", "::ffff:0:0",
    "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001:0:102:304::1", "2001:0:7f00:1::",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "::ffff:0:127.0.0.1",
)  # fmt: skip
NO_ADDRESS = (
    "",
    "localhost",
    "127.1",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.1 ",
    "[::1]",
    "1.1.1.1:80",
    "::g",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_may_be_connected_to(address: str) -> None:
    """Global unicast, the neighbours of every special network, and public IPv4 as IPv6 writes it."""
    AddressRules().check(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_that_is_not_public_is_refused(address: str) -> None:
    """Every special purpose, and every IPv6 form that leads there."""
    with pytest.raises(AddressNotAllowed, match="not a public address"):
        AddressRules().check(address)


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_text_that_is_no_address_is_refused(address: str) -> None:
    """Whatever some resolver might make of it."""
    with pytest.raises(AddressNotAllowed, match="not an IP address"):
        AddressRules().check(address)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1111%eth0", "::1%lo"])
def test_address_with_a_zone_is_refused_even_if_allowed(address: str) -> None:
    """It means something on one link only."""
    with pytest.raises(AddressNotAllowed, match="one link"):
        AddressRules((ip_network("::/0"),)).check(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("fd00::/8", "fd00:1::1"),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1"),
        ("::1/128", "::1"),
    ],
)
def test_address_in_an_allowed_network_may_be_connected_to(network: str, address: str) -> None:
    """The operator's own network, a mapped address being the IPv4 address it stands for."""
    AddressRules((ip_network("192.168.7.0/24"), ip_network(network))).check(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.1.0.0/16", "10.2.0.1"),
        ("10.1.0.0/16", "64:ff9b::10.1.0.1"),
        ("127.0.0.0/8", "::1"),
        ("127.0.0.0/8", "2002:7f00:1::"),
        ("::1/128", "127.0.0.1"),
    ],
)
def test_allowed_network_allows_nothing_else(network: str, address: str) -> None:
    """Not through a translator either: its network is not ours."""
    with pytest.raises(AddressNotAllowed):
        AddressRules((ip_network(network),)).check(address)


@given(st.ip_addresses(network="10.0.0.0/8").map(int))
def test_private_address_is_refused_in_every_ipv6_form(number: int) -> None:
    """Mapped, compatible, 6to4, NAT64, Teredo."""
    high, low = divmod(number, 1 << 16)
    for form in ("::ffff:{:x}:{:x}", "::{:x}:{:x}", "2002:{:x}:{:x}::", "64:ff9b::{:x}:{:x}", "2001:0:{:x}:{:x}::"):
        with pytest.raises(AddressNotAllowed):
            AddressRules().check(form.format(high, low))


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("CRL.Example.COM", "crl.example.com"),
        ("crl.example.com.", "crl.example.com"),
        ("internal_host", "internal_host"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.1.1.1", "1.1.1.1"),
        ("1.1.1.1.example", "1.1.1.1.example"),
        ("0x7f.example", "0x7f.example"),
        ("[2606:4700:0:0::1111]", "2606:4700::1111"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
    ],
)
def test_host_has_one_spelling(host: str, canonical: str) -> None:
    """Case, last dot, zeros of an address."""
    assert canonical_host(host).replace("::ffff:7f00:1", "::ffff:127.0.0.1") == canonical


@pytest.mark.parametrize(
    "host",
    [
        "", ".", "..", "a..b", "-a.example", "a-.example", "a b", "a%2eb", "bücher.example", "a" * 64, "a." * 130 + "a",
        "example..", "a/b", "a:b", "a@b", "a\nb", "a\n", "*",
        "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.0x1", "1.1.1.01", "1.1.1", "256.1.1.1",
        "example.1", "example.0x", "127.0.0.1.1", "\uff11.1.1.1", "１",  # noqa: RUF001 - digits of full width
        "[", "[]", "[::1", "[::1%lo]", "[fe80::1%25eth0]", "[127.0.0.1]", "[::g]", "[v1.a]",
    ],
)  # fmt: skip
def test_host_that_is_neither_name_nor_address_is_refused(host: str) -> None:
    """Nor an address as only some programs read it."""
    with pytest.raises(AddressNotAllowed):
        canonical_host(host)


@pytest.mark.parametrize("host", ["crl.example.com", "a.b.example.org", "x.example.org", "1.1.1.1", "2606:4700::1111"])
def test_listed_host_is_allowed(host: str) -> None:
    """By its name, by a name above it, by its address."""
    HostRules(("CRL.example.com.", "*.example.org", "1.1.1.1", "2606:4700:0::1111")).check(host)


@pytest.mark.parametrize(
    "host", ["example.com", "xcrl.example.com", "a.crl.example.com", "example.org", "evilexample.org", "1.1.1.2"]
)
def test_host_that_is_not_listed_is_refused(host: str) -> None:
    """A suffix is of whole labels, and does not contain its own name."""
    with pytest.raises(AddressNotAllowed, match="not among the allowed"):
        HostRules(("crl.example.com", "*.example.org", "1.1.1.1")).check(host)


def test_only_suffixes_and_only_names_are_lists_too() -> None:
    """Either alone restricts."""
    for patterns in (("*.example.org",), ("crl.example.com",)):
        with pytest.raises(AddressNotAllowed):
            HostRules(patterns).check("other.example")


def test_no_list_allows_every_host() -> None:
    """The addresses are checked all the same."""
    HostRules().check("anything.example")


@pytest.mark.parametrize("pattern", ["", "*", "*.", "http://crl.example.com", "a.*.example", "*.*.example", "crl:80"])
def test_pattern_that_is_no_host_is_an_error_of_the_operator(pattern: str) -> None:
    """Reported at the start, not met as a list that never fits."""
    with pytest.raises(ConfigError) as error:
        HostRules((pattern,))
    assert pattern in str(error.value)
    assert error.value.hint
