"""A receiver of mask_social's webhooks, in plain Python: python docs/receiver.py SECRET PORT [DATABASE]

A message is verified, kept under its id and answered, all within milliseconds; only then is it worked on. So a second
copy changes nothing, a crash loses nothing, and a slow feed keeps nobody waiting. Messages come in any order: of a
post's events the one with the highest sequence counts, whichever came last. GET /boosts shows what came of it.
"""

import base64
import hashlib
import hmac
import json
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300  # seconds
LARGEST = 1_000_000  # bytes; events have a few hundred
SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY, body TEXT NOT NULL, is_done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS boost (post_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, data TEXT);
"""


def verify(secret, headers, body):
    """Return the event; raise ValueError if the message is not ours or is too old."""
    identifier, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signed = f"{identifier}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    ours = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    signatures = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(ours.encode(), theirs.encode()) for theirs in signatures):
        raise ValueError("no signature holds")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise ValueError("too old")
    return json.loads(body)


class Inbox:
    """What came, and what came of it."""

    def __init__(self, path=":memory:"):
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(path, check_same_thread=False)
        self._rows.executescript(SCHEMA)
        self._news = threading.Event()
        self._news.set()  # a run before this one may have kept what it did not come to
        threading.Thread(target=self._work, daemon=True).start()

    def keep(self, event):
        """Keep an event, unless it is there already."""
        with self._lock, self._rows:
            self._rows.execute("INSERT OR IGNORE INTO event (id, body) VALUES (?, ?)", (event["id"], json.dumps(event)))
        self._news.set()

    def boosts(self):
        """Return {post_id: data of its boost.started}."""
        with self._lock:
            rows = self._rows.execute("SELECT post_id, data FROM boost WHERE data IS NOT NULL").fetchall()
        return {post_id: json.loads(data) for post_id, data in rows}

    def _work(self):
        while self._news.wait():
            self._news.clear()
            with self._lock, self._rows:
                for identifier, body in self._rows.execute("SELECT id, body FROM event WHERE NOT is_done").fetchall():
                    self._apply(json.loads(body))
                    self._rows.execute("UPDATE event SET is_done = 1 WHERE id = ?", (identifier,))

    def _apply(self, event):
        if event["type"] not in ("boost.started", "boost.ended"):
            return
        # An end is kept too: the start before it may still be on its way.
        data = json.dumps(event["data"]) if event["type"] == "boost.started" else None
        self._rows.execute(
            "INSERT INTO boost VALUES (?, ?, ?) ON CONFLICT (post_id) DO UPDATE"
            " SET sequence = excluded.sequence, data = excluded.data WHERE excluded.sequence > boost.sequence",
            (event["data"]["post_id"], event["sequence"], data),
        )


def serve(secret, port, path=":memory:"):
    """Listen until interrupted."""
    inbox = Inbox(path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length") or 0)
            if size > LARGEST:
                return self._answer(413)
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                event = verify(secret, headers, self.rfile.read(size))
            except ValueError as error:
                return self._answer(400, str(error).encode())
            inbox.keep(event)
            return self._answer(204)

        def do_GET(self):
            self._answer(200, json.dumps(inbox.boosts()).encode())

        def _answer(self, status, body=b""):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201 - what its user waits for
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
