"""Which addresses anybody on the internet could reach.

The tables are our own, after IANA's registries of special-purpose addresses (RFC 6890 and what followed), because the
one in Python's ipaddress differs from release to release. Of IPv6, what is not said to be public is not.
"""

import ipaddress
import socket

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # behind a carrier's NAT
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # public by its number, but inside Azure it is the machine's own host
            "169.254.0.0/16",  # link-local; the clouds tell secrets there
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; a cloud's metadata too
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
# All that is handed out so far. It leaves out loopback, unspecified, IPv4-mapped and -compatible, local NAT64, discard,
# segment routing, unique local, link-local, site-local and multicast addresses.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks; no web server has one
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: leads to the IPv4 address inside it
            "3fff::/20",  # documentation
        ),
    )
)
# RFC 6052: where there is no IPv4, the resolver makes these of it, and a gateway turns them back.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: IPAddress) -> bool:
    """Say whether anybody on the internet could reach the address, and nobody only we can see stands behind it."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def address_in(host: str) -> IPAddress | None:
    """Return the address that a host spells out, in any way that a resolver reads; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))  # 2130706433, 0x7f.1 and 127.1 are all 127.0.0.1
    except (OSError, ValueError):  # ValueError: letters beyond ASCII
        return None
