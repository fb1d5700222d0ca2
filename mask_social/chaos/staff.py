"""The platform's reviewers, in a process of their own: ``python -m mask_social.chaos.staff``.

They work through the product's own services, as the admin's pages do.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from io import StringIO
from types import TracebackType
from typing import Any, Self

from mask_social.chaos.calls import Answer

REVIEWER = "chaos-reviewer"
BUDGET_MINOR, AMOUNT_MINOR = 60_00, 75
HOLD_SECONDS = 6 * 3600  # so that money is settled when the clock jumps, and only then


class Staff:
    """Talk to that process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._process is not None:
                assert self._process.stdin is not None  # noqa: S101 - asked for below
                self._process.stdin.close()
                self._process.wait()

    def decide(self, action: str, post_id: str, outcome: str) -> Answer:
        """Overrule a post's verdict, or decide some open appeal; 503 where the database was away."""
        return self._ask({"do": action, "post": post_id, "outcome": outcome})

    def manage(self, *arguments: str) -> Answer:
        """Run a management command; 200 with what it printed, 500 where it failed."""
        return self._ask({"do": "manage", "arguments": arguments})

    def furnish(self, platform: str) -> Answer:
        """Give the platform a campaign whose budget will not last, a badge soon earned, and no daily limit."""
        return self._ask({"do": "furnish", "platform": platform})

    def prove(self) -> Answer:
        """Prove the books of every campaign; the body says what is wrong."""
        return self._ask({"do": "prove"})

    def sweep_files(self) -> Answer:
        """Delete the files that no row names, as beat does every night; the body says how many there were."""
        return self._ask({"do": "sweep"})

    def _ask(self, what: Mapping[str, Any]) -> Answer:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mask_social.chaos.staff"],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - asked for above
            try:
                self._process.stdin.write(json.dumps(what) + "\n")
                self._process.stdin.flush()
                said = self._process.stdout.readline()
            except BrokenPipeError:
                said = ""
            if not said:
                return Answer(0, "the reviewers are gone")
            return Answer(**json.loads(said))


def main() -> int:
    """Do what each line of standard input asks for, until it ends."""
    import django

    django.setup()
    from django.db import Error, connection

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            match asked["do"]:
                case "furnish":
                    answer = _furnish(asked["platform"])
                case "prove":
                    answer = _prove()
                case "manage":
                    answer = _manage(asked["arguments"])
                case "sweep":
                    answer = _sweep()
                case _:
                    answer = _decide(asked)
        except Error as error:
            connection.close()
            answer = {"status": 503, "body": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


def _manage(arguments: Sequence[str]) -> dict[str, Any]:
    from django.core.management import CommandError, call_command

    printed = StringIO()
    try:
        call_command(*arguments, stdout=printed)
    except CommandError as error:
        return {"status": 500, "body": str(error)}
    return {"status": 200, "body": printed.getvalue()}


def _decide(asked: Mapping[str, str]) -> dict[str, Any]:
    from django.contrib.auth.models import User

    from moderation import reviews
    from moderation.models import Appeal, Post

    user, _ = User.objects.get_or_create(username=REVIEWER)
    outcome = asked["outcome"]
    try:
        if asked["do"] == "overrule":
            reviews.overrule(Post.objects.get(pk=asked["post"]), outcome, user, "Seen by eye.")
        elif appeal := Appeal.objects.filter(status=Appeal.Status.OPEN).select_related("post", "against").first():
            if appeal.post.status == Post.Status.WITHDRAWN or appeal.against.outcome == outcome:
                reviews.dismiss(appeal, user, "It stands.")
            else:
                reviews.uphold(appeal, outcome, user, "You are right.")
    except reviews.ReviewError as error:  # nothing to decide, or somebody was quicker
        return {"status": 409, "body": str(error)}
    return {"status": 200, "body": ""}


def _prove() -> dict[str, Any]:
    from incentives import proof
    from incentives.models import Campaign

    audits = {campaign.pk: proof.audit(campaign) for campaign in Campaign.objects.all()}
    wrong = "; ".join(f"{name}: {problem}" for name, audit in audits.items() for problem in audit.problems)
    return {"status": 200, "body": wrong}


def _sweep() -> dict[str, Any]:
    from moderation import files

    return {"status": 200, "body": len(files.sweep().names)}


def _furnish(platform_slug: str) -> dict[str, Any]:
    from incentives import campaigns
    from incentives.models import BadgeRule, Campaign, EarningRules, Sponsor
    from mask_social import clock
    from moderation.models import Platform

    platform = Platform.objects.get(slug=platform_slug)
    EarningRules.objects.update_or_create(platform=platform, defaults={"posts_per_day": None})
    BadgeRule.objects.get_or_create(
        code="three-masks", defaults={"title": "Three masks", "kind": "masked_posts", "threshold": 3}
    )
    campaign = Campaign(
        name="Until it is spent",
        platform=platform,
        sponsor=Sponsor.objects.get_or_create(name="Chaos Sponsor")[0],
        cause="Masks",
        currency="EUR",
        budget_minor=BUDGET_MINOR,
        amount_minor=AMOUNT_MINOR,
        hold_seconds=HOLD_SECONDS,
    )
    campaigns.create_campaign(campaign, None, clock.now())
    campaigns.activate(campaign, clock.now())
    return {"status": 200, "body": campaign.pk}


if __name__ == "__main__":
    sys.exit(main())
