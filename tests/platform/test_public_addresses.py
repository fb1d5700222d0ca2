"""Addresses are judged as IANA's registries say, whatever release of Python reads them."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mask_social.public_addresses import address_in, is_public

V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)

# Written down anew from https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-, as (first, last), where
# "Globally Reachable" is not true; multicast and class E as in their own registries.
NOT_REACHABLE_V4 = [
    ("0.0.0.0", "0.255.255.255"),  # noqa: S104 - no address to listen on
    *(("10.0.0.0", "10.255.255.255"), ("100.64.0.0", "100.127.255.255")),
    *(("127.0.0.0", "127.255.255.255"), ("169.254.0.0", "169.254.255.255"), ("172.16.0.0", "172.31.255.255")),
    *(("192.0.0.0", "192.0.0.8"), ("192.0.0.11", "192.0.0.255"), ("192.0.2.0", "192.0.2.255")),
    *(("192.88.99.0", "192.88.99.255"), ("192.168.0.0", "192.168.255.255"), ("198.18.0.0", "198.19.255.255")),
    *(("198.51.100.0", "198.51.100.255"), ("203.0.113.0", "203.0.113.255"), ("224.0.0.0", "239.255.255.255")),
    ("240.0.0.0", "255.255.255.255"),
]
NOT_REACHABLE_V6 = [
    *(("::", "::1"), ("::ffff:0:0", "::ffff:ffff:ffff"), ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff")),
    *(("100::", "100::ffff:ffff:ffff:ffff"), ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff")),
    *(("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"), ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff")),
    *(("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"), ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")),
    *(("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff")),
    *(("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
    *(("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
RANGES = [
    (ipaddress.ip_address(first), ipaddress.ip_address(last)) for first, last in (*NOT_REACHABLE_V4, *NOT_REACHABLE_V6)
]
INSIDE = st.sampled_from(RANGES).flatmap(lambda ends: st.integers(int(ends[0]), int(ends[1])).map(type(ends[0])))


@given(INSIDE)
def test_no_address_of_a_special_range_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("end", [end for ends in RANGES for end in ends], ids=str)
def test_the_first_and_the_last_of_a_special_range_are_not_public(
    end: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert not is_public(end)


@given(V4)
@example(ipaddress.IPv4Address("9.255.255.255"))
@example(ipaddress.IPv4Address("11.0.0.0"))
@example(ipaddress.IPv4Address("100.63.255.255"))
@example(ipaddress.IPv4Address("172.32.0.0"))
@example(ipaddress.IPv4Address("223.255.255.255"))
def test_every_other_address_of_ipv4_is_public_but_for_those_we_name(address: ipaddress.IPv4Address) -> None:
    special = any(first <= address <= last for first, last in RANGES if first.version == 4)  # type: ignore[operator]  # of one version
    ours = address in ipaddress.IPv4Network("192.0.0.0/24") or str(address) == "168.63.129.16"
    assert is_public(address) == (not special and not ours)


@given(V6 | st.integers(2**125, 2**126 - 1).map(ipaddress.IPv6Address))
@example(ipaddress.IPv6Address("2000::"))
@example(ipaddress.IPv6Address("2001:200::"))
@example(ipaddress.IPv6Address("2a00:1450::1"))
@example(ipaddress.IPv6Address("3ffe:ffff::"))
@example(ipaddress.IPv6Address("4000::"))
def test_of_ipv6_only_what_is_handed_out_is_public(address: ipaddress.IPv6Address) -> None:
    if int(address) >> 32 == int(ipaddress.IPv6Address("64:ff9b::")) >> 32:
        return  # below
    special = any(first <= address <= last for first, last in RANGES if first.version == 6)  # type: ignore[operator]  # of one version
    protocol_assignment = address in ipaddress.IPv6Network("2001::/23")
    assert is_public(address) == (address.exploded[0] in "23" and not special and not protocol_assignment)


@given(V4 | st.sampled_from(RANGES[: len(NOT_REACHABLE_V4)]).map(lambda ends: ends[0]))
def test_nothing_is_reached_through_an_address_that_holds_another(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    for around in (0xFFFF << 32, 0, 0x2002 << 112):  # IPv4-mapped, IPv4-compatible, 6to4
        shift = 80 if around >> 112 else 0
        assert not is_public(ipaddress.IPv6Address(around | number << shift))
    teredo = (0x20010000 << 96) | (number ^ 0xFFFFFFFF)
    assert not is_public(ipaddress.IPv6Address(teredo))
    nat64 = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    assert is_public(nat64) == is_public(inner)


@given(V4 | V6)
def test_what_is_public_to_us_is_global_to_python_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert address.is_global or not is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "::1", "::ffff:7f00:1"])
def test_an_address_is_known_however_it_is_spelt(host: str) -> None:
    address = address_in(host)
    assert address is not None and not is_public(address)


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "ex-ample", "１２７.0.0.1", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert address_in(host) is None
