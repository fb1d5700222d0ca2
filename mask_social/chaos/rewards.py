"""The oracle on effects: what posts hold is counted again from their verdicts, and must come out the same."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from mask_social.chaos.facts import Evidence, Facts, PostRow, RuleRow, VerdictRow
from mask_social.chaos.tally import Tally

STANDING = frozenset({"reserved", "settled"})
HELD = frozenset({"active", "suspended"})
# What is booked for a match in each of its states.
STEPS = {
    "reserved": {"reserved"},
    "settled": {"reserved", "settled"},
    "voided": {"reserved", "voided"},
    "refunded": {"reserved", "settled", "refunded"},
}


def last_verdicts(facts: Facts) -> Mapping[str, VerdictRow]:
    """Return the verdict that holds for each post."""
    held: dict[str, VerdictRow] = {}
    for verdict in sorted(facts.verdicts, key=lambda verdict: verdict.sequence):
        held[verdict.post] = verdict
    return held


def counted(facts: Facts) -> list[PostRow]:
    """Return the posts that earn: masked by the verdict that holds, not withdrawn, and found to count."""
    held = last_verdicts(facts)
    return [
        post
        for post in facts.posts
        if post.status == "analyzed"
        and post.id in held
        and held[post.id].outcome == "masked"
        and post.id in facts.counting
    ]


def each_verdict_is_applied_once(evidence: Evidence, tally: Tally) -> None:
    """Look for verdicts without rewards, and for work that was left."""
    for verdict in evidence.facts.verdicts:
        tally.expect(verdict.reason is not None, f"the rewards of {verdict.id} were never worked out")
    for post_id in evidence.facts.changes:
        tally.problems.append(f"a change of {post_id} was left undone")


def each_earning_post_has_one_boost(evidence: Evidence, tally: Tally) -> None:
    """Compare the boosts that stand with the posts that earn."""
    earning = {post.id for post in counted(evidence.facts)}
    standing = Counter(boost.post for boost in evidence.facts.boosts if not boost.revoked)
    for post in evidence.facts.posts:
        wanted = int(post.id in earning)
        tally.expect(standing[post.id] == wanted, f"{post.id} has {standing[post.id]} boosts instead of {wanted}")
    for verdict, count in Counter(boost.verdict for boost in evidence.facts.boosts).items():
        tally.expect(count == 1, f"{verdict} gave {count} boosts")


def each_earning_post_is_matched_once(evidence: Evidence, tally: Tally) -> None:
    """Compare the money that stands with what the last rewards said, and with the posts that earn."""
    facts = evidence.facts
    earning = {post.id for post in counted(facts)}
    held = last_verdicts(facts)
    standing = defaultdict(list)
    for match in facts.matches:
        if match.status in STANDING:
            standing[match.post].append(match)
    for post in facts.posts:
        matches = standing[post.id]
        tally.expect(len(matches) <= 1, f"{post.id} is matched {len(matches)} times")
        verdict = held.get(post.id)
        if post.id in earning:
            promised = verdict is not None and verdict.reason == "matched"
            tally.expect(bool(matches) == promised, f"{post.id} was told {verdict and verdict.reason}: {matches}")
        else:
            # Masks that were given stay given when a post is only withdrawn later.
            kept = post.status == "withdrawn" and all(match.status == "settled" for match in matches)
            tally.expect(not matches or kept, f"{post.id} earns nothing and is matched: {matches}")


def no_budget_is_overdrawn(evidence: Evidence, tally: Tally) -> None:
    """Add up what stands of each campaign, from the matches alone."""
    promised: Counter[str] = Counter()
    for match in evidence.facts.matches:
        if match.status in STANDING:
            promised[match.campaign] += match.amount_minor
    for campaign in evidence.facts.campaigns:
        total = promised[campaign.id]
        tally.expect(total <= campaign.budget_minor, f"{campaign.id} promised {total} of {campaign.budget_minor}")
        tally.expect(
            total == campaign.committed_minor, f"{campaign.id} says {campaign.committed_minor}, its matches {total}"
        )
        tally.expect(
            campaign.funded_minor == campaign.budget_minor,
            f"{campaign.id} has a budget of {campaign.budget_minor}, its ledger {campaign.funded_minor}",
        )


def each_match_is_booked_once(evidence: Evidence, tally: Tally) -> None:
    """Compare each match with its bookings."""
    booked: dict[str, list[str]] = defaultdict(list)
    amounts: dict[str, set[int]] = defaultdict(set)
    for entry in evidence.facts.ledger:
        booked[entry.match].append(entry.kind)
        amounts[entry.match].add(entry.amount_minor)
    for match in evidence.facts.matches:
        kinds = booked.pop(match.id, [])
        tally.expect(sorted(kinds) == sorted(STEPS[match.status]), f"{match.id} is {match.status}, booked {kinds}")
        tally.expect(amounts[match.id] == {match.amount_minor}, f"{match.id} is booked over {amounts[match.id]}")
    for match_id in booked:
        tally.problems.append(f"{match_id} is booked and does not exist")


def each_badge_is_earned(evidence: Evidence, tally: Tally) -> None:
    """Measure every author by every rule again, and compare with the badges they hold."""
    facts = evidence.facts
    days: dict[str, list[date]] = defaultdict(list)
    for post in counted(facts):
        days[post.author].append(date.fromisoformat(post.day))
    awards = {(award.author, award.rule): award.status for award in facts.awards}
    tally.expect(len(awards) == len(facts.awards), "a badge was awarded twice to one author")
    for author in {post.author for post in facts.posts}:
        for rule in facts.rules:
            earned = measured(rule, days[author]) >= rule.threshold
            holds = awards.get((author, rule.code)) in HELD
            tally.expect(
                holds == earned,
                f"{author} {'holds' if holds else 'does not hold'} {rule.code} by {len(days[author])} posts",
            )


def measured(rule: RuleRow, days: Sequence[date]) -> int:
    """Return what posts on these days amount to under a rule."""
    if rule.kind == "masked_posts":
        return len(days)
    distinct = sorted(set(days))
    if rule.kind == "distinct_days":
        return len(distinct)
    longest = run = 0
    for index, day in enumerate(distinct):
        follows = index > 0 and (day - distinct[index - 1]).days <= 1 + rule.grace_days
        run = run + 1 if follows else 1
        longest = max(longest, run)
    return longest


def the_ledgers_prove(evidence: Evidence, tally: Tally) -> None:
    """Pass on what `manage.py prove_ledgers` found; empty: nothing."""
    if evidence.proof is not None:
        tally.expect(not evidence.proof, f"prove_ledgers: {evidence.proof}")
