"""What came of the demonstration: the table on the screen and the JSON in var/demo."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

LONGEST_TABLE = 40


@dataclass(slots=True)
class PhotoResult:
    """One posted photo: what was seen, what it earned and who was told."""

    file: str
    author_id: str
    post_id: str | None = None
    verdict: str | None = None
    expected: str | None = None
    faces: list[dict[str, Any]] = field(default_factory=list)
    stages_ms: dict[str, float | None] = field(default_factory=dict)
    rewards: dict[str, Any] = field(default_factory=dict)
    # event id -> whether the webhook came with a valid signature
    events: dict[str, bool] = field(default_factory=dict)
    problem: str | None = None

    @property
    def is_amiss(self) -> bool:
        """Whether something did not go as it must."""
        return (
            self.problem is not None
            or self.verdict is None
            or self.expected not in (None, self.verdict)
            or not self.events
            or not all(self.events.values())
        )


@dataclass(frozen=True, slots=True)
class Undone:
    """A post that was withdrawn, and what that took back; `verified` is whether the webhooks of all of it came."""

    file: str
    causation_id: str
    types: Sequence[str]
    verified: bool


@dataclass(frozen=True, slots=True)
class Portable:
    """A badge as anybody may check it: the public page, and the algorithm that signed its credential."""

    title: str
    author_id: str
    page: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    photos: Sequence[PhotoResult]
    skipped: Sequence[str]
    authors: Sequence[dict[str, Any]]
    campaigns: Sequence[dict[str, Any]]
    ranking: Sequence[dict[str, Any]]
    badge: Portable | None
    undone: Undone | None
    proof: str
    refused_webhooks: int
    seconds: float

    def totals(self) -> dict[str, Any]:
        """Return the figures that sum it up."""
        events = [verified for photo in self.photos for verified in photo.events.values()]
        return {
            "photos": len(self.photos),
            "amiss": sum(photo.is_amiss for photo in self.photos)
            + (self.undone is not None and not self.undone.verified),
            "skipped": len(self.skipped),
            "faces": sum(len(photo.faces) for photo in self.photos),
            "verdicts": dict(Counter(photo.verdict or "none" for photo in self.photos)),
            "badges": sum(len(photo.rewards.get("badges") or ()) for photo in self.photos),
            "boosts": sum(bool(photo.rewards.get("boost")) for photo in self.photos),
            "matches": sum(bool(photo.rewards.get("match")) for photo in self.photos),
            "events": len(events),
            "webhooks_verified": sum(events),
            "webhooks_refused": self.refused_webhooks,
            "seconds": round(self.seconds, 1),
        }

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        body = {"totals": self.totals()} | asdict(self)
        path.write_text(json.dumps(body, indent=1, ensure_ascii=False))

    def print(self, console: Console) -> None:
        """Print the photos, the two authors, the campaign and the feed."""
        console.print(self._photo_table())
        if len(self.photos) > LONGEST_TABLE:
            console.print(f"… and {len(self.photos) - LONGEST_TABLE} more, all in the report.")
        for photo in self.photos:
            if photo.problem:
                console.print(f"[red]{escape(photo.file)}[/]: {escape(photo.problem)}", soft_wrap=True)
        for author in self.authors:
            badges = ", ".join(badge["title"] for badge in author["badges"]) or "no badge"
            count = author["masked_posts"]
            console.print(f"[bold]{author['id']}[/]: {count} masked post{'' if count == 1 else 's'}, {badges}")
        for campaign in self.campaigns:
            console.print(
                f"[bold]{campaign['name']}[/] ({campaign['sponsor']}): "
                f"{_money(campaign['committed_minor'], campaign['currency'])} matched of "
                f"{_money(campaign['budget_minor'], campaign['currency'])}"
            )
        if self.ranking:
            console.print(self._feed_table())
        if self.badge:
            console.print(
                f"[bold]{self.badge.title}[/] of {escape(self.badge.author_id)} is an Open Badge, its "
                f"{self.badge.algorithm} signature verified: {self.badge.page}",
                soft_wrap=True,
            )
        if self.undone:
            console.print(
                f"[bold]{escape(Path(self.undone.file).name)}[/] was withdrawn, and all it gave taken back, by one "
                f"cause ({self.undone.causation_id}): {', '.join(self.undone.types)}",
                soft_wrap=True,
            )
        console.print(self.proof, soft_wrap=True)
        totals = self.totals()
        console.print(
            f"{totals['photos']} photos, {totals['faces']} faces, {totals['events']} events, "
            f"{totals['webhooks_verified']} webhooks verified, {totals['matches']} donations matched "
            f"in {totals['seconds']} s",
            soft_wrap=True,
        )

    def _photo_table(self) -> Table:
        table = Table(
            title="What came of each photo",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for name in ("photo", "author", "verdict"):
            table.add_column(name, no_wrap=True)
        for name in ("faces", "see ms"):
            table.add_column(name, justify="right")
        table.add_column("earned", min_width=6)
        table.add_column("told", justify="right")  # webhooks that came well signed, of those due
        for photo in self.photos[:LONGEST_TABLE]:
            stages = photo.stages_ms
            seeing = sum(stages.get(name) or 0 for name in ("decode", "detect", "classify"))
            verified = f"{sum(photo.events.values())}/{len(photo.events)}"
            table.add_row(
                Path(photo.file).name,
                photo.author_id,
                "amiss" if photo.problem else photo.verdict or "none",
                str(len(photo.faces)),
                f"{seeing:.0f}",
                _earned(photo.rewards),
                verified,
                style="red" if photo.is_amiss else None,
            )
        return table

    def _feed_table(self) -> Table:
        table = Table(
            title="The feed, ranked", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
        )
        for name in ("rank", "post", "factor"):
            table.add_column(name, no_wrap=True)
        table.add_column("what a viewer is told")
        files = {photo.post_id: Path(photo.file).name for photo in self.photos}
        for row in self.ranking[:LONGEST_TABLE]:
            table.add_row(
                str(row["rank"]),
                files.get(row["post_id"], row["post_id"]),
                f"×{row['factor']:.2f}",
                row["why"],
            )
        return table


def _earned(rewards: dict[str, Any]) -> str:
    parts = ["badge" for _ in rewards.get("badges") or ()]
    if boost := rewards.get("boost"):
        parts.append(f"×{boost['factor']:g}")
    if match := rewards.get("match"):
        parts.append(_money(match["amount_minor"], match["currency"]))
    reason = rewards.get("donation", {}).get("reason", "")
    return ", ".join(parts) or {"near_duplicate": "a repeat"}.get(reason, "–")


def _money(minor: int, currency: str) -> str:
    return f"{minor / 100:.2f} {currency}"
