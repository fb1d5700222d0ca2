"""Where a request comes from: the one answer for limits, sign-in and the audit log.

Whoever asks can write any X-Forwarded-For. Each proxy adds at its end the address that it was asked from, so only as
many of the last entries are true as there are proxies of ours in front.
"""

import ipaddress
import re

from django.conf import settings
from django.http import HttpRequest

_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[0-9.]+):\d+")
#: Whoever has IPv6 has at least this many addresses of it.
_SIX_PREFIX = 64


def client_address(request: HttpRequest) -> str:
    """Return the address of whoever asks, as text; empty where the connection has none, as over a Unix socket."""
    proxies: int = settings.TRUSTED_PROXIES
    peer = _plain(request.META.get("REMOTE_ADDR") or "")
    told = request.META.get("HTTP_X_FORWARDED_FOR") or ""
    if not proxies or not told:
        return peer
    return _plain(told.split(",")[-proxies:][0]) or peer


def neighbourhood(address: str) -> str:
    """Return what to limit instead of one address: an IPv4 address itself, the /64 network of an IPv6 one."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((address, _SIX_PREFIX), strict=False))


def _plain(text: str) -> str:
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found["six"] or found["four"]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
