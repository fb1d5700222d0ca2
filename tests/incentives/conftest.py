"""What every test here starts from: no broker, no campaign, and the two badge rules.

Named on the command line, this file is loaded before Django is set up; so it imports inside its fixtures.
"""

from collections.abc import Callable

import pytest


class Sent(list[tuple[str, str]]):
    """The messages that would have gone to the broker: (task, argument)."""

    def of(self, task: str) -> list[str]:
        """Return the arguments of one task's messages."""
        return [argument for name, argument in self if name == task]


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Keep messages from the broker: a test does itself what a worker would, or leaves it undone."""
    from incentives import tasks

    found = Sent()

    def catch(name: str) -> Callable[[object], None]:
        return lambda argument: found.append((name, str(argument)))

    for task in (tasks.apply_verdict, tasks.take_back, tasks.send_webhooks, tasks.run_backfill):
        monkeypatch.setattr(task, "delay", catch(task.name.rpartition(".")[2]))
    return found


@pytest.fixture
def seeded(db: None) -> None:
    """Two badge rules, no campaign, no limit on posts: a test with transactions of its own has emptied the tables."""
    from incentives.models import BadgeRule, Campaign, EarningRules

    rules = (("first-mask", "Mask-on", "masked_posts", 1), ("five-days", "Five days of masks", "distinct_days", 5))
    for code, title, kind, threshold in rules:
        BadgeRule.objects.update_or_create(code=code, defaults={"title": title, "kind": kind, "threshold": threshold})
    BadgeRule.objects.exclude(code__in=[code for code, *_ in rules]).update(is_active=False)
    Campaign.objects.update(status=Campaign.Status.ENDED)
    EarningRules.objects.update_or_create(platform=None, defaults={"posts_per_day": None})
