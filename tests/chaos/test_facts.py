"""The oracle over a real database: it reads what is there, and finds what somebody tampered with."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from incentives import rewards
from mask_social import clock
from mask_social.chaos import facts, oracle
from mask_social.chaos.facts import Evidence
from mask_social.chaos.receiver import Log
from tests.cast import make_author, make_post
from tests.incentives.builders import furnish, make_campaign, make_endpoint

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def database() -> Iterator["psycopg.Connection[Any]"]:
    """A connection beside Django's, as the trial has one."""
    parameters = connection.get_connection_params()
    for name in ("context", "cursor_factory", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters, autocommit=True) as other:
        yield other


def broken(database: "psycopg.Connection[Any]", promises: set[str]) -> set[str]:
    found = facts.read(database)
    logs = {endpoint.id: Log() for endpoint in found.endpoints}
    tallies = oracle.ask(Evidence(found, logs=logs))
    return {tally.promise for tally in tallies if tally.problems} & promises


def test_it_reads_what_is_there_and_finds_what_was_tampered_with(database: "psycopg.Connection[Any]") -> None:
    furnish()
    make_campaign()
    author = make_author()
    make_endpoint(author.platform)
    for _ in range(2):
        post = make_post(author, outcome="masked")
        rewards.apply_verdict(post.verdicts.get().pk)
    promises = {
        "every post comes to an end",
        "every verdict is reached once",
        "every verdict is applied once",
        "every earning post has one boost",
        "every earning post is matched once",
        "no budget is overdrawn",
        "every match is booked once",
        "every badge is earned",
        "every change is told once",
        "badges come and go in turn",
        "numbers have no gap",
    }

    read = facts.read(database)
    assert (len(read.posts), len(read.verdicts), len(read.boosts), len(read.matches)) == (2, 2, 2, 2)
    assert (len(read.awards), len(read.counting), len(read.events), len(read.deliveries)) == (1, 2, 7, 7)
    assert broken(database, promises) == set()

    for statement, promise in (
        (
            "DELETE FROM incentives_delivery; DELETE FROM incentives_event WHERE type = 'boost.started'",
            "numbers have no gap",
        ),
        ("UPDATE incentives_boost SET revoked_at = now()", "every earning post has one boost"),
        ("UPDATE incentives_match SET status = 'settled'", "every match is booked once"),
        ("UPDATE incentives_campaign SET committed_minor = 0", "no budget is overdrawn"),
        ("UPDATE incentives_badgeaward SET status = 'revoked'", "every badge is earned"),
        ("DELETE FROM incentives_rewardapplication", "every verdict is applied once"),
    ):
        # As a bug would that no constraint catches: without the triggers that forbid it.
        database.execute("SET session_replication_role = replica")
        database.execute(statement)
        database.execute("SET session_replication_role = DEFAULT")
        assert promise in broken(database, promises), statement


def test_it_counts_what_is_still_on_its_way(database: "psycopg.Connection[Any]") -> None:
    assert facts.unsettled(database, clock.now()).total == 0
    furnish()
    make_post()

    assert str(facts.unsettled(database, clock.now())) == "1 posts, 1 photos"
