"""Where a request comes from."""

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from mask_social.addresses import client_address, neighbourhood


def asked(peer: str = "198.51.100.7", told: str | None = None) -> str:
    headers = {} if told is None else {"X-Forwarded-For": told}
    return client_address(RequestFactory(REMOTE_ADDR=peer).get("/", headers=headers))


def test_a_header_is_not_believed_where_no_proxy_is_in_front(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 0

    assert asked(told="203.0.113.9") == "198.51.100.7"


@pytest.mark.parametrize(
    ("proxies", "told", "address"),
    [
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.66, 203.0.113.9", "203.0.113.9"),
        (2, "192.0.2.66, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (2, "203.0.113.9", "203.0.113.9"),
        (1, None, "198.51.100.7"),
        (1, "", "198.51.100.7"),
        (1, "203.0.113.9, nonsense", "198.51.100.7"),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_a_header_is_believed_as_far_as_our_own_proxies_wrote_it(
    settings: Settings, proxies: int, told: str | None, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies

    assert asked(told=told) == address


def test_a_connection_without_an_address_has_none(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 0

    assert asked(peer="") == ""


def test_a_whole_network_counts_as_one_where_everybody_has_a_network() -> None:
    assert neighbourhood("203.0.113.9") == "203.0.113.9"
    assert neighbourhood("2001:db8:1:2:3:4:5:6") == neighbourhood("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert neighbourhood("") == ""
