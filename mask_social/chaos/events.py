"""The oracle on events: each change is told once, in order, to all who wanted to hear, and they believe the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from mask_social.chaos.facts import EndpointRow, EventRow, Evidence
from mask_social.chaos.rewards import HELD
from mask_social.chaos.tally import Tally

# Rewards that were refused are told so, with the reason; these are no refusals of a sponsor or a rule.
NOT_DECLINED = frozenset({"matched", "not_masked", "superseded", "withdrawn"})


@dataclass(slots=True)
class View:
    """What somebody believes who has only heard events."""

    # What was told of the boost that each post has.
    boosted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    badges: set[tuple[str, str]] = field(default_factory=set)
    matches: dict[str, str] = field(default_factory=dict)


def view_of(told: Iterable[Mapping[str, Any]]) -> View:
    """Put events, each once, into the order of their subjects' numbers, and believe them."""
    view = View()
    events = {event["id"]: event for event in told}
    for event in sorted(events.values(), key=lambda event: (*event["subject"].values(), event["sequence"])):
        data = event["data"]
        match event["type"]:
            case "boost.started":
                view.boosted[data["post_id"]] = data
            case "boost.ended":
                view.boosted.pop(data["post_id"], None)
            case "badge.awarded" | "badge.reinstated":
                view.badges.add((data["author_id"], data["badge"]["code"]))
            case "badge.revoked" | "badge.expired":
                view.badges.discard((data["author_id"], data["badge"]["code"]))
            case "donation.matched":
                view.matches[data["match_id"]] = "reserved"
            case "donation.settled" | "donation.voided" | "donation.refunded":
                view.matches[data["match_id"]] = event["type"].removeprefix("donation.")
    return view


def each_change_is_told_once(evidence: Evidence, tally: Tally) -> None:
    """Count the events of each effect, and compare with the effects."""
    facts = evidence.facts
    by_cause = Counter((event.type, event.causation_id) for event in facts.events)
    about = Counter((event.type, event.data.get("post_id")) for event in facts.events)
    of_match = Counter((event.type, event.data.get("match_id")) for event in facts.events)
    of_appeal = Counter((event.type, event.data.get("appeal_id")) for event in facts.events)

    def once(count: int, wanted: int, what: str) -> None:
        tally.expect(count == wanted, f"{what} was told {count} times instead of {wanted}")

    for verdict in facts.verdicts:
        once(by_cause["post.analyzed", verdict.id], 1, f"verdict {verdict.id}")
        declined = verdict.reason is not None and verdict.reason not in NOT_DECLINED
        once(by_cause["donation.declined", verdict.id], int(declined), f"that {verdict.id} is given nothing")
    started = Counter(boost.post for boost in facts.boosts)
    ended = Counter(boost.post for boost in facts.boosts if boost.revoked)
    for post in facts.posts:
        if post.status != "withdrawn":  # it may have failed before
            once(about["post.failed", post.id], int(post.status == "failed"), f"the failure of {post.id}")
        once(about["post.withdrawn", post.id], int(post.status == "withdrawn"), f"the withdrawal of {post.id}")
        once(about["boost.started", post.id], started[post.id], f"the boost of {post.id}")
        once(about["boost.ended", post.id], ended[post.id], f"the end of the boost of {post.id}")
    for match in facts.matches:
        once(of_match["donation.matched", match.id], 1, f"match {match.id}")
        for status, before in (
            ("settled", {"settled", "refunded"}),
            ("voided", {"voided"}),
            ("refunded", {"refunded"}),
        ):
            once(of_match[f"donation.{status}", match.id], int(match.status in before), f"{status} of {match.id}")
    for appeal in facts.appeals:
        once(of_appeal["appeal.opened", appeal.id], 1, f"appeal {appeal.id}")
        once(of_appeal["appeal.decided", appeal.id], int(appeal.status != "open"), f"the decision of {appeal.id}")


def badges_come_and_go_in_turn(evidence: Evidence, tally: Tally) -> None:
    """Follow each badge through its events: it is never given twice, nor taken twice, and ends as the row says."""
    story: dict[tuple[str, str], list[EventRow]] = defaultdict(list)
    for event in evidence.facts.events:
        if event.type in ("badge.awarded", "badge.revoked"):
            story[event.data["author_id"], event.data["badge"]["code"]].append(event)
    status = {(award.author, award.rule): award.status for award in evidence.facts.awards}
    for badge in story.keys() | status.keys():
        types = [event.type for event in sorted(story[badge], key=lambda event: event.sequence)]
        turns = ["badge.awarded", "badge.revoked"] * len(types)
        tally.expect(types == turns[: len(types)], f"badge {badge} was told as {types}")
        held = bool(types) and types[-1] == "badge.awarded"
        tally.expect(held == (status.get(badge) in HELD), f"badge {badge} is {status.get(badge)}, told {types[-1:]}")


def numbers_have_no_gap(evidence: Evidence, tally: Tally) -> None:
    """Count through the events of each subject, and compare with the number that the subject has come to."""
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in evidence.facts.events:
        numbers[event.subject_type, event.subject].append(event.sequence)
    facts = evidence.facts
    come_to = {("post", post.id): post.event_sequence for post in facts.posts}
    come_to |= {("author", row.author): row.event_sequence for row in facts.numbers}
    come_to |= {("endpoint", endpoint.id): endpoint.event_sequence for endpoint in facts.endpoints}
    for subject, last in come_to.items():
        found = sorted(numbers.pop(subject, []))
        tally.expect(found == [*range(1, last + 1)], f"{subject} has come to {last}, its events are {found}")
    for subject in numbers:
        tally.problems.append(f"{subject} has events and does not exist")


def wants(endpoint: EndpointRow, event: EventRow) -> bool:
    """Say whether an endpoint asked for events of this type, or this one is its own."""
    if event.subject_type == "endpoint":
        return event.subject == endpoint.id
    return not endpoint.event_types or event.type in endpoint.event_types


def each_event_is_delivered(evidence: Evidence, tally: Tally) -> None:
    """Compare every endpoint's log with the events that it wanted to hear of."""
    facts = evidence.facts
    rows = {(delivery.event, delivery.endpoint): delivery.status for delivery in facts.deliveries}
    for endpoint in facts.endpoints:
        log = evidence.logs[endpoint.id]
        for event in facts.events:
            if wants(endpoint, event):
                status = rows.get((event.id, endpoint.id))
                came = event.id in log.bodies
                tally.expect(came, f"{event.type} {event.id} never came to {endpoint.id}; its delivery is {status}")
                tally.expect(status == "delivered", f"{event.type} {event.id} to {endpoint.id} is {status}")
        tally.expect(endpoint.status == "active", f"{endpoint.id} is {endpoint.status} in the end")


def nothing_is_delivered_that_did_not_happen(evidence: Evidence, tally: Tally) -> None:
    """Compare what came with the rows: the id, the number, the words."""
    happened = {event.id: event for event in evidence.facts.events}
    for endpoint in evidence.facts.endpoints:
        for event_id, body in evidence.logs[endpoint.id].bodies.items():
            event = happened.get(event_id)
            if event is None:
                tally.expect(False, f"{event_id} came to {endpoint.id} and is no event")
                continue
            told = (body["type"], body["subject"], body["sequence"], body["causation_id"], body["data"])
            subject = {"type": event.subject_type, "id": event.subject}
            wrote = (event.type, subject, event.sequence, event.causation_id, event.data)
            tally.expect(told == wrote, f"{event_id} came as {told} and is {wrote}")
            tally.expect(wants(endpoint, event), f"{event_id} came to {endpoint.id}, which did not want it")


def each_message_is_signed(evidence: Evidence, tally: Tally) -> None:
    """Pass on what the receivers complain about."""
    for log in evidence.logs.values():
        tally.checked += len(log.bodies) + log.repeats.total()
        tally.problems += log.complaints


def receivers_believe_what_holds(evidence: Evidence, tally: Tally) -> None:
    """Compare what a receiver of everything believes with the rows."""
    facts = evidence.facts
    boosted = {boost.post for boost in facts.boosts if not boost.revoked}
    badges = {(award.author, award.rule) for award in facts.awards if award.status in HELD}
    matches = {match.id: match.status for match in facts.matches}
    for endpoint in facts.endpoints:
        if endpoint.event_types:
            continue
        view = view_of(evidence.logs[endpoint.id].bodies.values())
        tally.checked += len(boosted) + len(badges) + len(matches)
        for what, believed, held in (("boosts", set(view.boosted), boosted), ("badges", view.badges, badges)):
            if believed != held:
                tally.problems.append(f"{endpoint.id} believes in {what} {_difference(believed, held)}")
        if view.matches != matches:
            difference = _difference(set(view.matches.items()), set(matches.items()))
            tally.problems.append(f"{endpoint.id} believes in matches {difference}")


def the_digest_is_the_receivers(evidence: Evidence, tally: Tally) -> None:
    """Compare GET /api/v1/boosts/digest with what a receiver works out of the messages that it took."""
    if evidence.digest is None:
        return
    as_of = datetime.fromisoformat(evidence.digest["as_of"])
    for endpoint in evidence.facts.endpoints:
        if {"boost.started", "boost.ended"} <= set(endpoint.event_types) or not endpoint.event_types:
            lines = digest_lines(view_of(evidence.logs[endpoint.id].bodies.values()), as_of)
            for bucket in evidence.digest["buckets"]:
                mine = sorted(line for name, line in lines if name == bucket["name"])
                told = (bucket["count"], bucket["digest"])
                worked_out = (len(mine), sha256("".join(mine).encode()).hexdigest())
                tally.expect(
                    told == worked_out, f"{endpoint.id} has bucket {bucket['name']} as {worked_out}, not {told}"
                )


def digest_lines(view: View, as_of: datetime) -> list[tuple[str, str]]:
    """Return the lines of the boosts that have not run out, each with the name of its bucket among sixteen."""
    lines = []
    for post_id, boost in view.boosted.items():
        starts_at, ends_at = (datetime.fromisoformat(boost[name]) for name in ("starts_at", "ends_at"))
        if ends_at > as_of:
            times = (f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z" for moment in (starts_at, ends_at))
            line = " ".join((post_id, f"{boost['factor']:.6f}", str(boost["half_life_seconds"]), *times))
            lines.append((sha256(post_id.encode()).hexdigest()[0], f"{line}\n"))
    return lines


def the_api_tells_the_same(evidence: Evidence, tally: Tally) -> None:
    """Compare what GET /api/v1/posts told of some posts with the rows."""
    rows = {post.id: post.status for post in evidence.facts.posts}
    for post_id, told in evidence.told.items():
        tally.expect(rows.get(post_id) == told, f"{post_id} is {rows.get(post_id)}, the API says {told}")


def the_feed_tells_the_same(evidence: Evidence, tally: Tally) -> None:
    """Compare what GET /api/v1/events told with the rows."""
    if evidence.feed is not None:
        rows = [event.id for event in evidence.facts.events]
        tally.checked += len(rows)
        if [*evidence.feed] != rows:
            difference = _difference(set(evidence.feed), set(rows))
            tally.problems.append(f"the feed tells {difference or 'another order'}")


def _difference(believed: Any, held: Any) -> str:
    def shown(what: str, some: set[Any]) -> str:
        return f"{what} {sorted(map(str, some))[:5]}" if some else ""

    return "; ".join(filter(None, (shown("too much:", believed - held), shown("too little:", held - believed))))
