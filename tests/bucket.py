"""A server that speaks S3, in this process, with a private bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import urllib3
from moto.server import ThreadedMotoServer

ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NAME = "photos"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is, as STORAGE_URL says it."""

    endpoint: str

    @property
    def url(self) -> str:
        return f"s3://{NAME}/live?region=eu-central-1&endpoint={self.endpoint}"

    def names(self) -> list[str]:
        """Return what it holds."""
        listed = _client(self.endpoint).list_objects_v2(Bucket=NAME)
        return [entry["Key"] for entry in listed.get("Contents", ())]


@contextmanager
def served() -> Iterator[Bucket]:
    """Serve a bucket of our own for a while."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = Bucket(f"http://{host}:{port}")
        urllib3.request("POST", f"{bucket.endpoint}/moto-api/reset")  # what a former server of this process held
        _client(bucket.endpoint).create_bucket(
            Bucket=NAME, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield bucket
    finally:
        server.stop()


def _client(endpoint: str):  # type: ignore[no-untyped-def]  # boto3 has no types
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
