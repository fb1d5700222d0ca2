"""gunicorn's worker of threads, which no slow sender can keep: ``--worker-class mask_social.web_worker.PatientWorker``.

gunicorn bounds how long a connection may say nothing before its first byte, and how long the next request may be in
coming. Within a request it waits for ever: as many half requests as there are threads would silence a process.
"""

import errno
import socket
import time
from typing import Any, Self

from gunicorn.workers.gthread import ThreadWorker

from mask_social.env import positive

# What a request may keep a thread waiting, and how fast the rest must come: 152 MB in 40 minutes.
PATIENCE_SECONDS = positive("MASK_SOCIAL_PATIENCE_SECONDS", 20)
BYTES_PER_SECOND = 64 * 1024


class PatientSocket(socket.socket):
    """A connection that ends when the waiting for it does not pay; only waiting counts, not the work in between."""

    _waited = 0.0
    _received = 0

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """Take a connection over."""
        family, kind, protocol = connection.family, connection.type, connection.proto
        return cls(family, kind, protocol, fileno=connection.detach())

    def begin(self) -> None:
        """Have patience for another request."""
        self._waited, self._received = 0.0, 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Return what comes; raise ConnectionResetError when patience is at its end."""
        given = self.gettimeout()
        patience = PATIENCE_SECONDS + self._received / BYTES_PER_SECOND - self._waited
        if patience <= 0:
            raise ConnectionResetError(errno.ECONNRESET, "The request came too slowly.")
        began = time.monotonic()
        self.settimeout(patience if given is None else min(given, patience))
        try:
            data = super().recv(size, flags)
        except TimeoutError as error:
            if given is not None and given < patience:
                raise
            raise ConnectionResetError(errno.ECONNRESET, "The request came too slowly.") from error
        finally:
            self._waited += time.monotonic() - began
            self.settimeout(given)
        self._received += len(data)
        return data


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Threads, each bounded in how long it waits for a request to be there whole."""

    def handle(self, conn: Any) -> Any:
        """Answer one request."""
        if not self.cfg.is_ssl:  # TLS ends at the proxy; where it does not, gunicorn wraps the socket itself
            if not isinstance(conn.sock, PatientSocket):
                conn.sock = PatientSocket.of(conn.sock)
            conn.sock.begin()
        return super().handle(conn)
