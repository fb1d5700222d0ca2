"""What a platform does all day: it posts, sends the same again, takes back, appeals; and its staff decide."""

import threading
import uuid
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from random import Random

from mask_social.chaos import pictures
from mask_social.chaos.calls import Answer, Caller, Web
from mask_social.chaos.pictures import Kind
from mask_social.chaos.staff import Staff

AUTHORS = 12
THREADS = 6
PAIRS = 0.12  # of all posts have two photos, which two workers may finish at the same time
OUTCOMES = ("masked", "unmasked", "incorrect", "no_face")
# How often the platform does what, of a hundred things.
POST, AGAIN, WITHDRAW, APPEAL, OVERRULE, DECIDE = 80, 5, 5, 4, 3, 3


@dataclass(frozen=True, slots=True)
class Offer:
    """A post as the platform sends it, again and again under the same key until it is accepted."""

    key: str
    author: str
    kind: Kind
    photos: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A post that was answered with 202."""

    post_id: str
    key: str
    kind: Kind
    photos: int


class Traffic:
    """Send a platform's requests at a rate; remember what was promised in return."""

    def __init__(self, web: Web, staff: Staff, seed: int, *, per_second: float) -> None:
        self.caller = Caller(THREADS)
        self.did: Counter[str] = Counter()
        # What the service answered and should not have.
        self.wrongs: list[str] = []
        self.offered: set[str] = set()
        self.accepted: dict[str, Accepted] = {}
        self.withdrawn: set[str] = set()
        self._web, self._staff = web, staff
        self._random = Random(f"traffic {seed}")  # noqa: S311 - it is to be repeatable
        self._pause_seconds = 1 / per_second
        self._lock = threading.Lock()
        self._recent: list[Offer] = []
        self._flows = threading.Event()
        self._gate = threading.Lock()  # held while something is begun
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def flow(self) -> None:
        """Let requests come in."""
        self._flows.set()

    def stop(self) -> None:
        """Send nothing new from here on; what is outstanding is still tried again."""
        with self._gate:
            self._flows.clear()

    def end(self) -> None:
        """Be done with it."""
        self._over.set()
        self._flows.set()
        self._thread.join()
        self.caller.end()

    def forget_keys(self) -> None:
        """Never send again what was sent: keys are kept for a day, and days may have passed."""
        with self._lock:
            self._recent.clear()

    def post(self, kind: Kind = Kind.ORDINARY) -> None:
        """Send a post."""
        with self._lock:
            draw = self._random
            count = 2 if kind is Kind.ORDINARY and draw.random() < PAIRS else 1
            photos = tuple(
                pictures.ordinary(draw) if kind is Kind.ORDINARY else pictures.harmful(kind, draw) for _ in range(count)
            )
            author = f"author-{draw.randrange(AUTHORS)}"
        offer = Offer(uuid.uuid4().hex, author, kind, photos)
        self.did["posts"] += 1
        self.offered.add(offer.key)
        self.caller.call(lambda: self._send(offer), lambda answer: self._hear(offer, answer))

    def _run(self) -> None:
        while not self._over.wait(self._pause_seconds):
            self._flows.wait()
            with self._gate:
                if self._flows.is_set():
                    self._do_something()

    def _do_something(self) -> None:
        with self._lock:
            [choice] = self._random.choices(
                ("post", "again", "withdraw", "appeal", "overrule", "decide"),
                (POST, AGAIN, WITHDRAW, APPEAL, OVERRULE, DECIDE),
            )
            posts = [*self.accepted.values()]
            post_id = self._random.choice(posts).post_id if posts else ""
            again = self._random.choice(self._recent) if self._recent else None
            outcome = self._random.choice(OUTCOMES)
        if choice == "post" or not post_id:
            self.post()
        elif choice == "again" and again is not None:
            self.did["posts sent again"] += 1
            self.caller.call(lambda: self._send(again), lambda answer: self._hear(again, answer))
        elif choice == "withdraw":
            self.did["withdrawals"] += 1
            self.caller.call(lambda: self._withdraw(post_id), lambda answer: self._hear_withdrawal(post_id, answer))
        elif choice == "appeal":
            self.did["appeals"] += 1
            key = uuid.uuid4().hex
            self.caller.call(lambda: self._appeal(post_id, key), self._hear_appeal)
        elif choice in ("overrule", "decide"):
            self.did["decisions of staff"] += 1
            self.caller.call(lambda: self._staff.decide(choice, post_id, outcome), lambda answer: None)

    def _send(self, offer: Offer) -> Answer:
        return self._web.ask(
            "POST",
            "/api/v1/posts",
            headers={"Idempotency-Key": offer.key},
            # The caption bears the key, so that the database tells of a post that was made twice.
            fields=[
                ("author_id", offer.author),
                ("caption", offer.key),
                *(("photos", ("photo.jpg", photo, "image/jpeg")) for photo in offer.photos),
            ],
        )

    def _hear(self, offer: Offer, answer: Answer) -> None:
        if answer.status != HTTPStatus.ACCEPTED:
            self.wrongs.append(f"a post was answered {answer.status}: {answer.body}")
            return
        post_id = answer.body["id"]
        with self._lock:
            before = self.accepted.setdefault(offer.key, Accepted(post_id, offer.key, offer.kind, len(offer.photos)))
            if before.post_id != post_id:
                self.wrongs.append(f"key {offer.key} was answered with {before.post_id}, and then with {post_id}")
            if offer.kind is Kind.ORDINARY:
                self._recent = [*self._recent[-19:], offer]

    def _withdraw(self, post_id: str) -> Answer:
        return self._web.ask("DELETE", f"/api/v1/posts/{post_id}")

    def _hear_withdrawal(self, post_id: str, answer: Answer) -> None:
        if answer.status == HTTPStatus.NO_CONTENT:
            self.withdrawn.add(post_id)
        else:
            self.wrongs.append(f"the withdrawal of {post_id} was answered {answer.status}: {answer.body}")

    def _appeal(self, post_id: str, key: str) -> Answer:
        return self._web.ask(
            "POST",
            f"/api/v1/posts/{post_id}/appeals",
            headers={"Idempotency-Key": key},
            json={"statement": "Look again, please."},
        )

    def _hear_appeal(self, answer: Answer) -> None:
        if answer.status not in (HTTPStatus.CREATED, HTTPStatus.CONFLICT):
            self.wrongs.append(f"an appeal was answered {answer.status}: {answer.body}")
