"""``python -m tests.fuzz.api``: schemathesis asks the whole service what its OpenAPI allows, and much that it does not.

Every check is on, but for the one that schemathesis.toml tells of. The service is a real one, with workers,
on databases of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mask_social.demo.client import Client
from mask_social.stack import BASE, Stack

EXAMPLES = 50
# Each call is meant to be answered, not to be kept waiting: the limits have tests of their own.
ENVIRONMENT = {
    "MASK_SOCIAL_ALLOW_PRIVATE_ADDRESSES": "1",
    "MASK_SOCIAL_RATE_KEY": "1000000",
    "MASK_SOCIAL_RATE_AUTHOR": "1000000",
    "MASK_SOCIAL_RATE_ADDRESS": "1000000",
    "MASK_SOCIAL_MAX_QUEUED": "1000000",
    "MASK_SOCIAL_MAX_QUEUE_SECONDS": "100000",
}
AUTHORS = ("u-1042", "fuzzed/author 7")
CONFIG = Path(__file__).with_name("schemathesis.toml")
PHOTO = BASE / "mask_social" / "demo" / "photos" / "portrait.jpg"


def run(url: str, key: str, examples: int, options: Sequence[str] = (), *, schema: str = "") -> int:
    """Ask a running service; return how schemathesis ended. `schema`: a file, to ask by another than its own."""
    # Of these authors it reads; those that it makes up itself are mostly unknown.
    client = Client(url, key)
    for author in AUTHORS:
        client.create_post(PHOTO, author_id=author, caption="")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)),
        *("run", schema or f"{url}/api/schema", "--url", url),
        *("--checks", "all", "--header", f"Authorization: Bearer {key}"),
        *("--max-examples", str(examples), "--request-timeout", "30", "--continue-on-failure"),
        *options,
    ]
    with _photo_served() as photo:
        ended = subprocess.run(command, cwd=BASE, env=os.environ | _hooks(photo), check=False).returncode
    client.campaigns()  # raises where the key has died meanwhile: 401 is no fault, but all would have been answered so
    return ended


def _hooks(photo: str) -> Mapping[str, str]:
    return {
        "SCHEMATHESIS_HOOKS": "tests.fuzz.formats",
        "FUZZ_PHOTO_URL": photo,
        "PYTHONPATH": str(BASE),
        "DJANGO_SETTINGS_MODULE": "mask_social.settings",
    }


@contextmanager
def _photo_served() -> Iterator[str]:
    """Serve a picture under an address of its own, for posts by URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.end_headers()
            self.wfile.write(PHOTO.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
    finally:
        server.shutdown()
        server.server_close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, fuzz, and end as schemathesis does."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help=f"per operation (default: {EXAMPLES})")
    parser.add_argument("options", nargs="*", help="more for schemathesis, after --")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Stack(Path(folder), env=ENVIRONMENT) as stack:
        bootstrap = [sys.executable, str(BASE / "manage.py"), "bootstrap", "--json"]
        made = json.loads(subprocess.run(bootstrap, env=stack.environment, check=True, capture_output=True).stdout)
        return run(stack.url, made["api_key"], chosen.examples, chosen.options)


if __name__ == "__main__":
    sys.exit(main())
