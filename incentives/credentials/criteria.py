"""What a rule asks for, in words."""

from datetime import UTC, datetime

from incentives.models import BadgeAward, BadgeRule

BY_HAND = "Given by hand by the staff of the programme, whatever the posts amount to."


def in_words(rule: BadgeRule) -> str:
    """Say what must be done for a badge, in sentences that anybody understands."""
    sentences = [f"{_what(rule)}{_where(rule)}{_when(rule)}."]
    if rule.kind == BadgeRule.Kind.STREAK and rule.grace_days:
        sentences.append(f"Up to {_counted(rule.grace_days, 'day')} may be missed between two of them.")
    if rule.valid_days:
        sentences.append(f"It is valid for {_counted(rule.valid_days, 'day')}.")
    return " ".join(sentences)


def is_by_hand(award: BadgeAward) -> bool:
    """Say whether staff gave a badge that the posts had not earned: whoever verifies it is not to be misled."""
    return award.by_staff and bool(award.evidence["measured"] < award.evidence["threshold"])


def _what(rule: BadgeRule) -> str:
    number = rule.threshold
    match BadgeRule.Kind(rule.kind):
        case BadgeRule.Kind.MASKED_POSTS:
            return "Share a photo post with a mask on" if number == 1 else f"Share {number} photo posts with a mask on"
        case BadgeRule.Kind.DISTINCT_DAYS:
            return f"Share a photo post with a mask on, on {_counted(number, 'different day')}"
        case BadgeRule.Kind.STREAK:
            return f"Share a photo post with a mask on, on {_counted(number, 'day')} in a row"


def _where(rule: BadgeRule) -> str:
    return f", in {', '.join(rule.regions)}" if rule.regions else ""


def _when(rule: BadgeRule) -> str:
    first, last = rule.starts_at, rule.ends_at
    if first and last:
        return f", from {_moment(first)} to {_moment(last)}"
    if first:
        return f", from {_moment(first)} on"
    return f", before {_moment(last)}" if last else ""


def _moment(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    clock = f" {moment:%H:%M} UTC" if moment.hour or moment.minute else ""
    return f"{moment.day} {moment:%B %Y}{clock}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
