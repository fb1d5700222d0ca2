"""From faces to a verdict: deciding is pure, recording is append-only."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from mask_social import clock
from moderation import observed, signals
from moderation.models import Analysis, Face, Policy, Post, Verdict
from moderation.selectors import current_policy

Outcome = Verdict.Outcome

# Whose word a policy does not change: people have looked at the photo itself.
OF_PEOPLE = (Verdict.Source.REVIEWER, Verdict.Source.APPEAL)

MASK, NO_MASK, INCORRECT, OCCLUDED = STATES = ("mask", "no_mask", "incorrect", "occluded")


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """What a verdict needs to know of a face; `photo` is the photo's position in its post."""

    photo: int
    short_side: float
    score: float
    probabilities: Mapping[str, float]

    @classmethod
    def of(cls, face: Face, photo: int) -> "FaceEvidence":
        """Read a stored face."""
        short_side = min(face.x2 - face.x1, face.y2 - face.y1)
        return cls(photo, short_side, face.score, {state: getattr(face, state) for state in STATES})


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """A policy without its row: `sure` and `likely` hold a threshold for each state."""

    rule: str
    min_face_score: float
    min_face_ratio: float
    sure: Mapping[str, float]
    likely: Mapping[str, float]

    @classmethod
    def of(cls, policy: Policy) -> "PolicyRules":
        """Read a stored policy."""
        return cls(
            policy.rule,
            policy.min_face_score,
            policy.min_face_ratio,
            {state: getattr(policy, f"{state}_sure") for state in STATES},
            {state: getattr(policy, f"{state}_likely") for state in STATES},
        )


def decide(faces: Sequence[FaceEvidence], rules: PolicyRules) -> Verdict.Outcome:
    """Return the outcome; uncertain when it hangs on a face that could be either.

    A face that is not surely in one state is taken once at its best (masked, where that is plausible) and once at its
    worst. Only an outcome that is the same both ways is a verdict.
    """
    counted = list(_counted(faces, rules))
    at_best = _outcome([_state(face, rules, hopeful=True) for face in counted], rules.rule)
    at_worst = _outcome([_state(face, rules, hopeful=False) for face in counted], rules.rule)
    return at_best if at_best == at_worst else Outcome.UNCERTAIN


def state_of(probabilities: Mapping[str, float], rules: PolicyRules) -> str | None:
    """Return the state a face surely is in, or None."""
    sure = [state for state in STATES if probabilities[state] >= rules.sure[state]]
    return max(sure, key=probabilities.__getitem__, default=None)


def _counted(faces: Sequence[FaceEvidence], rules: PolicyRules) -> Iterable[FaceEvidence]:
    # Sizes are compared within a photo: pixels of different photos say nothing about each other.
    seen = [face for face in faces if face.score >= rules.min_face_score]
    largest: dict[int, float] = {}
    for face in seen:
        largest[face.photo] = max(face.short_side, largest.get(face.photo, 0.0))
    return (face for face in seen if face.short_side >= rules.min_face_ratio * largest[face.photo])


def _state(face: FaceEvidence, rules: PolicyRules, *, hopeful: bool) -> str:
    definite = state_of(face.probabilities, rules)
    if definite is not None:
        return definite
    if hopeful and face.probabilities[MASK] >= rules.likely[MASK]:
        return MASK
    bare = [state for state in STATES if state != MASK]
    plausible = [state for state in bare if face.probabilities[state] >= rules.likely[state]]
    return max(plausible or bare, key=face.probabilities.__getitem__)


def _outcome(states: Sequence[str], rule: str) -> Verdict.Outcome:
    count = Counter(states)
    if not states:
        return Outcome.NO_FACE
    if count[MASK] == 0:
        return Outcome.INCORRECT if count[INCORRECT] and not count[NO_MASK] else Outcome.UNMASKED
    needed = {Policy.Rule.ALL: len(states), Policy.Rule.ANY: 1, Policy.Rule.MAJORITY: len(states) // 2 + 1}
    return Outcome.MASKED if count[MASK] >= needed[Policy.Rule(rule)] else Outcome.PARTLY_MASKED


def record_verdict(
    post_id: str,
    source: str,
    *,
    outcome: str | None = None,
    decided_by: User | None = None,
    reason: str = "",
    held: Post | None = None,
) -> Verdict | None:
    """Append a verdict: people give the outcome, else the policy of today does. None when it is not the time for one.

    The model speaks once, when the last photo is done; anyone else only about a post that was analyzed. A policy that
    comes to what holds already says nothing, and it never overrules people. `held` is the post with its platform, for a
    caller that has locked and read it already.
    """
    with transaction.atomic(savepoint=False):
        post = held or Post.objects.select_for_update(of=("self",)).select_related("platform").get(pk=post_id)
        awaited = Post.Status.PENDING if source == Verdict.Source.MODEL else Post.Status.ANALYZED
        analyses = list(
            Analysis.objects.filter(photo__post=post)
            .select_related("photo")
            .prefetch_related("faces")
            .order_by("photo__position")
        )
        unseen = not analyses or any(analysis.status != Analysis.Status.DONE for analysis in analyses)
        if post.status != awaited or unseen:
            return None
        policy = current_policy(post.platform)
        last = None if source == Verdict.Source.MODEL else post.verdicts.order_by("-sequence").first()
        reached = outcome or decide(evidence(analyses), PolicyRules.of(policy))
        if source == Verdict.Source.REEVALUATION and last and (last.source in OF_PEOPLE or last.outcome == reached):
            return None
        verdict = Verdict.objects.create(
            post=post,
            sequence=last.sequence + 1 if last else 1,
            outcome=reached,
            source=source,
            policy=policy,
            detector_digest=analyses[-1].detector_digest,
            classifier_digest=analyses[-1].classifier_digest,
            photo_digests=[analysis.photo.digest for analysis in analyses],
            decided_by=decided_by,
            reason=reason,
        )
        post.outcome = reached
        if post.status == Post.Status.PENDING:
            post.status, post.completed_at = Post.Status.ANALYZED, clock.now()
        post.save(update_fields=["outcome", "status", "completed_at"])
        signals.verdict_reached.send(Verdict, verdict_id=verdict.pk, post_id=post.pk)
        observed.verdict_reached(verdict)
        return verdict


def evidence(analyses: Iterable[Analysis]) -> list[FaceEvidence]:
    """Return what the analyses of a post saw."""
    return [FaceEvidence.of(face, analysis.photo.position) for analysis in analyses for face in analysis.faces.all()]
