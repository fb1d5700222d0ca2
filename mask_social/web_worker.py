"""gunicorn's worker of threads, which no slow caller can keep: ``--worker-class mask_social.web_worker.PatientWorker``.

gunicorn bounds how long a connection may say nothing before its first byte, and how long the next request may be in
coming. Within a request it waits for ever, and for whoever reads its answer too: as many half requests as there are
threads, or answers that nobody reads, would silence a process. And where it closes a connection, it waits two seconds
for the other side to go, in the one thread that takes all connections in; here whoever answered waits, for less.
"""

import errno
import socket
import time
from contextlib import suppress
from typing import Any, Self

from gunicorn.workers.gthread import ThreadWorker

from mask_social.env import positive

# What a request may keep a thread waiting, and how fast the rest must come, or go: 152 MB in 40 minutes.
PATIENCE_SECONDS = positive("MASK_SOCIAL_PATIENCE_SECONDS", 20)
BYTES_PER_SECOND = 64 * 1024
_PIECE = 64 * 1024
_PARTING_SECONDS = 0.5


class PatientSocket(socket.socket):
    """A connection that ends when the waiting for it does not pay; only waiting counts, not the work in between."""

    _waited = 0.0
    _received = 0
    _waited_for_reader = 0.0
    _sent = 0
    _has_parted = False

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """Take a connection over."""
        family, kind, protocol = connection.family, connection.type, connection.proto
        return cls(family, kind, protocol, fileno=connection.detach())

    def begin(self) -> None:
        """Have patience for another request."""
        self._waited, self._received = 0.0, 0
        self._waited_for_reader, self._sent = 0.0, 0

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

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send everything; raise ConnectionResetError when patience is at its end."""
        given, began = self.gettimeout(), time.monotonic()
        self._sent += len(data)
        patience = PATIENCE_SECONDS + self._sent / BYTES_PER_SECOND - self._waited_for_reader
        self.settimeout(max(patience, 0.001))
        try:
            super().sendall(data, flags)
        except TimeoutError as error:
            self._has_parted = True  # whoever does not read is not waited for
            raise ConnectionResetError(errno.ECONNRESET, "The answer was read too slowly.") from error
        finally:
            self._waited_for_reader += time.monotonic() - began
            self.settimeout(given)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file by pieces: the kernel's own way would have the whole patience anew for each."""
        file.seek(offset)
        sent = 0
        while piece := file.read(_PIECE if count is None else min(_PIECE, count - sent)):
            self.sendall(piece)
            sent += len(piece)
        return sent

    def part(self) -> None:
        """Say that no more comes, and let the other side read to the end: a close at once could cost it the answer."""
        if self._has_parted:
            return
        self._has_parted = True
        ends, room = time.monotonic() + _PARTING_SECONDS, _PIECE
        with suppress(OSError):
            super().shutdown(socket.SHUT_WR)
            while room > 0 and (left := ends - time.monotonic()) > 0:
                self.settimeout(left)
                data = super().recv(room)
                if not data:
                    break
                room -= len(data)

    def shutdown(self, how: int, /) -> None:
        """Shut it down; after the parting gunicorn is told that there is nobody to wait for."""
        if self._has_parted:
            raise OSError(errno.ENOTCONN, "The parting is over.")
        super().shutdown(how)


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Threads, each bounded in how long it waits for a request to be there whole."""

    def handle(self, conn: Any) -> Any:
        """Answer one request."""
        if not self.cfg.is_ssl:  # TLS ends at the proxy; where it does not, gunicorn wraps the socket itself
            if not isinstance(conn.sock, PatientSocket):
                conn.sock = PatientSocket.of(conn.sock)
            conn.sock.begin()
        goes_on = super().handle(conn)
        if not goes_on and isinstance(conn.sock, PatientSocket):
            conn.sock.part()
        return goes_on
