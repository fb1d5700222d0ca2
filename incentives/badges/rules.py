"""What an author's posts amount to under a rule. Pure: the posts that count in, a number and its evidence out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from incentives.models import BadgeRule

# Evidence names this many posts: enough to check by eye, and a row stays a row.
EVIDENCE_POSTS = 20


@dataclass(frozen=True, slots=True)
class CountedOn:
    """A post that counts, as the rules see it; `verdict_id` is None once the post is erased."""

    id: str
    created_at: datetime
    # In the author's time zone.
    day: date
    region: str = ""
    verdict_id: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule asks for; an award keeps those it was given under."""

    kind: str
    threshold: int
    grace_days: int = 0
    regions: tuple[str, ...] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @classmethod
    def of(cls, rule: BadgeRule) -> "Terms":
        """Return what a rule asks for today."""
        return cls(rule.kind, rule.threshold, rule.grace_days, tuple(rule.regions), rule.starts_at, rule.ends_at)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Terms":
        """Return terms as `written` wrote them."""
        moments = {name: stored[name] and datetime.fromisoformat(stored[name]) for name in ("starts_at", "ends_at")}
        return cls(**{**stored, **moments, "regions": tuple(stored["regions"])})

    def written(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        window = {"starts_at": self.starts_at, "ends_at": self.ends_at}
        moments = {name: value and value.isoformat() for name, value in window.items()}
        return asdict(self) | moments | {"regions": list(self.regions)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why an award stands: what was measured, by which terms, and the last of the posts that reach the threshold."""

    measured: int
    terms: Terms
    post_ids: Sequence[str]
    # Of the last of these posts; None once it is erased, or where there is none.
    verdict_id: str | None

    @property
    def is_enough(self) -> bool:
        """Say whether the threshold is reached."""
        return self.measured >= self.terms.threshold

    def written(self) -> dict[str, Any]:
        """Return it as an award keeps it."""
        return {
            "measured": self.measured,
            "threshold": self.terms.threshold,
            "post_ids": list(self.post_ids),
            "terms": self.terms.written(),
        }


def measure(rule: BadgeRule | Terms, posts: Iterable[CountedOn], *, since: datetime | None = None) -> Evidence:
    """Return what `posts`, the oldest first, amount to under a rule; those from before `since` do not count."""
    terms = rule if isinstance(rule, Terms) else Terms.of(rule)
    matching = [post for post in posts if (since is None or post.created_at >= since) and _matches(terms, post)]
    match BadgeRule.Kind(terms.kind):
        case BadgeRule.Kind.MASKED_POSTS:
            counted = matching
        case BadgeRule.Kind.DISTINCT_DAYS:
            counted = _first_of_each_day(matching)
        case BadgeRule.Kind.STREAK:
            counted = _longest_streak(_first_of_each_day(matching), terms.grace_days)
    named = counted[: terms.threshold][-EVIDENCE_POSTS:]
    return Evidence(len(counted), terms, [post.id for post in named], named[-1].verdict_id if named else None)


def covers(regions: Collection[str], region: str) -> bool:
    """Say whether a region is among `regions`; a country stands for its parts too, and none at all for everywhere."""
    return not regions or region in regions or region.partition("-")[0] in regions


def _matches(terms: Terms, post: CountedOn) -> bool:
    return (
        (terms.starts_at is None or post.created_at >= terms.starts_at)
        and (terms.ends_at is None or post.created_at < terms.ends_at)
        and covers(terms.regions, post.region)
    )


def _first_of_each_day(posts: Iterable[CountedOn]) -> list[CountedOn]:
    """Return the first post of each day, in the order of the days."""
    firsts: dict[date, CountedOn] = {}
    for post in posts:
        firsts.setdefault(post.day, post)
    # Whoever moves to another time zone may see a later post fall on an earlier day.
    return [firsts[day] for day in sorted(firsts)]


def _longest_streak(days: Iterable[CountedOn], grace_days: int) -> list[CountedOn]:
    """Return the longest run of days, the first of equals; so many may be missed between two of it."""
    longest: list[CountedOn] = []
    run: list[CountedOn] = []
    for post in days:
        if run and (post.day - run[-1].day).days > 1 + grace_days:
            run = []
        run.append(post)
        if len(run) > len(longest):
            longest = run
    return longest
