"""The trial's client: it asks again until it is told, and remembers what it was told."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from mask_social.chaos.calls import Answer, Caller, Web
from mask_social.chaos.staff import Staff
from mask_social.chaos.traffic import Traffic


class FakeWeb:
    """Answer as a script says, and with new ids when that is over."""

    def __init__(self, *script: Answer) -> None:
        self.asked: list[tuple[str, str]] = []
        self._script = iter(script)
        self._ids = itertools.count(1)

    def ask(self, method: str, path: str, **_: Any) -> Answer:
        self.asked.append((method, path))
        return next(self._script, None) or Answer(202, {"id": f"post_{next(self._ids)}"})


class FakeStaff:
    def decide(self, *_: str) -> Answer:
        return Answer(200, "")


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def make_traffic() -> Iterator[Callable[[FakeWeb], Traffic]]:
    made: list[Traffic] = []

    def make(web: FakeWeb) -> Traffic:
        made.append(Traffic(cast(Web, web), cast(Staff, FakeStaff()), 1, per_second=200))
        return made[-1]

    yield make
    for traffic in made:
        traffic.end()


@pytest.mark.parametrize(
    ("answer", "is_final"),
    [
        (Answer(0, "ReadTimeoutError"), False),
        (Answer(503, None), False),
        (Answer(429, None), False),
        (Answer(409, {"code": "idempotency_in_flight"}), False),
        (Answer(409, {"code": "already_appealed"}), True),
        (Answer(202, {}), True),
        (Answer(400, {}), True),
    ],
)
def test_it_knows_which_answers_will_not_change(answer: Answer, is_final: bool) -> None:
    assert answer.is_final is is_final


def test_it_asks_again_until_it_is_told() -> None:
    answers = iter([Answer(0, "closed"), Answer(503, None, 0.1), Answer(202, "done")])
    heard: list[Answer] = []
    caller = Caller(2)

    caller.call(lambda: next(answers), heard.append)
    eventually(lambda: bool(heard))

    assert ([answer.body for answer in heard], caller.retries) == (["done"], 2)
    assert caller.answers == {"closed": 1, "503": 1, "202": 1}
    eventually(lambda: caller.outstanding == 0)
    caller.end()


def test_a_post_keeps_its_key_until_it_is_accepted(make_traffic: Callable[[FakeWeb], Traffic]) -> None:
    traffic = make_traffic(FakeWeb(Answer(503, None), Answer(0, "closed")))

    traffic.post()
    eventually(lambda: bool(traffic.accepted))

    assert traffic.accepted.keys() == traffic.offered
    assert [accepted.post_id for accepted in traffic.accepted.values()] == ["post_1"]


def test_a_refusal_of_a_good_post_is_noted(make_traffic: Callable[[FakeWeb], Traffic]) -> None:
    traffic = make_traffic(FakeWeb(Answer(400, {"code": "not_an_image"})))

    traffic.post()
    eventually(lambda: bool(traffic.wrongs))

    assert "not_an_image" in traffic.wrongs[0]


def test_two_posts_under_one_key_are_noted(make_traffic: Callable[[FakeWeb], Traffic]) -> None:
    traffic = make_traffic(FakeWeb())

    traffic.flow()  # a server that forgets keys: what is sent again makes another post

    eventually(lambda: any("and then with" in wrong for wrong in traffic.wrongs))


def test_nothing_is_begun_once_it_was_stopped(make_traffic: Callable[[FakeWeb], Traffic]) -> None:
    web = FakeWeb()
    traffic = make_traffic(web)
    traffic.flow()
    eventually(lambda: len(traffic.accepted) > 3)

    traffic.stop()
    eventually(lambda: traffic.caller.outstanding == 0)
    asked = len(web.asked)
    time.sleep(0.1)

    assert len(web.asked) == asked
