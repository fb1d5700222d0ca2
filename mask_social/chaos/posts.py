"""The oracle on posts: each that was accepted exists once and comes to an end; no file is lost."""

from collections import Counter, defaultdict

from mask_social.chaos.facts import Evidence
from mask_social.chaos.pictures import Kind
from mask_social.chaos.tally import Tally

ENDS = frozenset({"analyzed", "failed", "withdrawn"})
# How a photo may fail that was well when it came in; a missing file is no such way.
LOSSES = frozenset({"worker_lost", "analysis_too_slow", "analysis_error"})
TRIES = 3
# What a harmful photo must come to.
FATE = {
    Kind.DEADLY: frozenset({"worker_lost"}),
    Kind.HANGING: frozenset({"analysis_too_slow", "worker_lost"}),
    Kind.DEAF: frozenset({"worker_lost"}),
}


def each_accepted_post_exists_once(evidence: Evidence, tally: Tally) -> None:
    """Compare what the client was promised with the rows, and the rows with what was ever sent."""
    rows = {post.id: post for post in evidence.facts.posts}
    for key, accepted in evidence.accepted.items():
        row = rows.get(accepted.post_id)
        if tally.expect(row is not None, f"{accepted.post_id} was accepted and is not there"):
            assert row is not None  # noqa: S101 - as expected
            tally.expect(row.caption == key, f"{row.id} is the post of another key than was answered")
    for key, times in Counter(post.caption for post in evidence.facts.posts).items():
        tally.expect(times == 1, f"key {key} made {times} posts")
        tally.expect(key in evidence.offered, f"key {key} was never sent and has a post")


def each_post_ends(evidence: Evidence, tally: Tally) -> None:
    """Look for posts that are still waited for, and for failures that nobody can explain."""
    photos = defaultdict(list)
    for photo in evidence.facts.photos:
        photos[photo.post].append(photo)
    kinds = {accepted.post_id: accepted.kind for accepted in evidence.accepted.values()}
    sent = {accepted.post_id: accepted.photos for accepted in evidence.accepted.values()}
    for post in evidence.facts.posts:
        tally.expect(post.status in ENDS, f"{post.id} is still {post.status}")
        count = len(photos[post.id])
        tally.expect(count == sent.get(post.id, count) > 0, f"{post.id} has {count} photos")
        codes = {photo.failure_code for photo in photos[post.id] if photo.status == "failed"}
        if post.status == "failed":
            tally.expect(bool(codes), f"{post.id} has failed, and none of its photos")
        tally.expect(codes <= LOSSES, f"{post.id} failed by {', '.join(sorted(codes - LOSSES))}")
        fate = FATE.get(kinds.get(post.id, Kind.ORDINARY))
        if fate is not None:
            tally.expect(codes <= fate, f"{post.id} killed its worker or hung, and failed by {', '.join(codes)}")
            tally.expect(bool(codes), f"{post.id} killed its worker or hung, and did not fail")
        for photo in photos[post.id]:
            tally.expect(photo.attempts <= TRIES, f"{photo.id} was tried {photo.attempts} times")
            if post.status == "failed" and photo.status == "failed":
                tally.expect(photo.attempts == TRIES, f"{photo.id} was given up after {photo.attempts} tries")


def withdrawn_posts_stay_withdrawn(evidence: Evidence, tally: Tally) -> None:
    """Compare the withdrawals that were acknowledged with the rows."""
    status = {post.id: post.status for post in evidence.facts.posts}
    for post_id in evidence.withdrawn:
        tally.expect(status.get(post_id) == "withdrawn", f"{post_id} was withdrawn and is {status.get(post_id)}")


def a_good_client_is_not_refused(evidence: Evidence, tally: Tally) -> None:
    """Pass on what the client found wrong."""
    tally.checked += len(evidence.offered)
    tally.problems += evidence.wrongs


def each_photo_has_its_file(evidence: Evidence, tally: Tally) -> None:
    """Look for rows whose file is not there."""
    if evidence.files is not None:
        for photo in evidence.facts.photos:
            tally.expect(photo.file in evidence.files, f"{photo.id} has no file {photo.file}")


def each_file_has_its_photo(evidence: Evidence, tally: Tally) -> None:
    """Look for files that no row names; whoever asks has had the orphans swept first."""
    if evidence.files is not None:
        named = {photo.file for photo in evidence.facts.photos}
        for name in evidence.files:
            tally.expect(name in named, f"{name} belongs to no photo")


def each_verdict_is_reached_once(evidence: Evidence, tally: Tally) -> None:
    """Compare verdicts with posts: the model speaks first and once, and numbers have no gap."""
    by_post = defaultdict(list)
    for verdict in evidence.facts.verdicts:
        by_post[verdict.post].append(verdict)
    seen = defaultdict(set)
    for photo in evidence.facts.photos:
        seen[photo.post].add(photo.status)
    for post in evidence.facts.posts:
        verdicts = sorted(by_post[post.id], key=lambda verdict: verdict.sequence)
        numbers = [verdict.sequence for verdict in verdicts]
        tally.expect(numbers == [*range(1, len(numbers) + 1)], f"{post.id} has verdicts {numbers}")
        by_model = [verdict.sequence for verdict in verdicts if verdict.source == "model"]
        tally.expect(by_model in ([], [1]), f"the model spoke of {post.id} in verdicts {by_model}")
        if post.status == "analyzed":
            tally.expect(by_model == [1], f"{post.id} is analyzed, and the model never spoke of it")
            tally.expect(seen[post.id] == {"done"}, f"{post.id} is analyzed, and its photos {seen[post.id]}")
        elif post.status == "failed":
            tally.expect(not verdicts, f"{post.id} has failed and has verdicts")
        held = verdicts[-1].outcome if verdicts else ""
        tally.expect(post.outcome == held, f"{post.id} says {post.outcome!r}, its last verdict {held!r}")
