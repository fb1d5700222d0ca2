"""All promises, and whether they hold."""

from collections.abc import Callable, Sequence

from mask_social.chaos import events, posts, rewards
from mask_social.chaos.facts import Evidence
from mask_social.chaos.tally import Tally

Check = Callable[[Evidence, Tally], None]

CHECKS: dict[str, Check] = {
    "every accepted post exists, once": posts.each_accepted_post_exists_once,
    "every post comes to an end": posts.each_post_ends,
    "a withdrawn post stays withdrawn": posts.withdrawn_posts_stay_withdrawn,
    "a good client is never refused": posts.a_good_client_is_not_refused,
    "every photo has its file": posts.each_photo_has_its_file,
    "every file has its photo": posts.each_file_has_its_photo,
    "every verdict is reached once": posts.each_verdict_is_reached_once,
    "every verdict is applied once": rewards.each_verdict_is_applied_once,
    "every earning post has one boost": rewards.each_earning_post_has_one_boost,
    "every earning post is matched once": rewards.each_earning_post_is_matched_once,
    "no budget is overdrawn": rewards.no_budget_is_overdrawn,
    "every match is booked once": rewards.each_match_is_booked_once,
    "every badge is earned": rewards.each_badge_is_earned,
    "the ledgers prove": rewards.the_ledgers_prove,
    "every change is told once": events.each_change_is_told_once,
    "badges come and go in turn": events.badges_come_and_go_in_turn,
    "numbers have no gap": events.numbers_have_no_gap,
    "every event is delivered": events.each_event_is_delivered,
    "nothing is delivered that did not happen": events.nothing_is_delivered_that_did_not_happen,
    "every message is signed": events.each_message_is_signed,
    "receivers believe what holds": events.receivers_believe_what_holds,
    "the digest is the receivers'": events.the_digest_is_the_receivers,
    "the API tells the same": events.the_api_tells_the_same,
    "the feed tells the same": events.the_feed_tells_the_same,
}


def ask(evidence: Evidence) -> Sequence[Tally]:
    """Check every promise."""
    tallies = []
    for promise, check in CHECKS.items():
        tally = Tally(promise)
        check(evidence, tally)
        tallies.append(tally)
    return tallies
