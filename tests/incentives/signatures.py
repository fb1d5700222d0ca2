"""A verifier of credentials by hand: the standard library and RSA, and nothing of what signs them."""

import gzip
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.test import Client


@cache
def make_pem(name: str = "first", bits: int = 2048) -> str:
    """Make a private key, one for each name: small, for it is made in every run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, plain).decode()


def decode(part: str) -> bytes:
    """Undo base64url without padding."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def header_of(token: str) -> dict[str, Any]:
    """Return the JOSE header."""
    header: dict[str, Any] = json.loads(decode(token.split(".")[0]))
    return header


def payload_of(token: str) -> dict[str, Any]:
    """Return what is signed, unverified."""
    payload: dict[str, Any] = json.loads(decode(token.split(".")[1]))
    return payload


def holds(token: str, jwk: Mapping[str, str]) -> bool:
    """Say whether RS256 (RFC 7518, 3.3) holds over the first two parts of a token."""
    signed, _, signature = token.rpartition(".")
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(decode(jwk[part]), "big") for part in ("e", "n")))
    try:
        numbers.public_key().verify(decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def key_of(token: str, client: Client) -> dict[str, str]:
    """Fetch the key that a token names."""
    address = header_of(token)["kid"]
    assert address.startswith("http://testserver/")
    jwk: dict[str, str] = client.get(address.removeprefix("http://testserver")).json()
    return jwk


def bit_is_set(encoded: str, index: int) -> bool:
    """Expand a status list as the standard says, and read one bit."""
    assert encoded[0] == "u", "the multibase prefix of base64url"
    bits = gzip.decompress(decode(encoded[1:]))
    assert len(bits) * 8 >= 131_072
    return f"{bits[index // 8]:08b}"[index % 8] == "1"
