"""Examples for the schema."""

from typing import Any

_POST = "post_01ky3q5v7n8w9x0y1z2a3b4c5d"
_VERDICT = "ver_01ky3q5vn2q4s6t8v0w2x4y6z8"

_BADGE = "https://masks.example.org/badges/bdg_01ky3q7x2c4e6g8j0m2p4r6t8v"
BADGE: dict[str, Any] = {
    "rule": "first-mask",
    "title": "Mask-on",
    "description": "A first post with every mask on.",
    "series": "masks",
    "level": 1,
    "status": "active",
    "awarded_at": "2026-11-21T09:30:02.118Z",
    "changed_at": "2026-11-21T09:30:02.118Z",
    "expires_at": None,
    "post_id": _POST,
    "evidence": {"measured": 1, "threshold": 1, "post_ids": [_POST]},
    "verify_url": _BADGE,
    "credential_url": f"{_BADGE}/credential",
    "image_url": f"{_BADGE}/image.svg",
}
STANDING: dict[str, Any] = {
    "id": "ada",
    "masked_posts": 1,
    "distinct_days": 1,
    "badges": [BADGE],
    "matched": [{"amount_minor": 50, "currency": "EUR"}],
}
RANK_REQUEST: dict[str, Any] = {
    "candidates": [
        {"post_id": "post_01ky3q2m4p6r8t0v2x4z6b8d0f", "base_score": 1.2},
        {"post_id": _POST, "base_score": 1.0, "age_seconds": 0},
        {"post_id": "p-77", "base_score": 0.9, "author_id": "ada"},
    ]
}
RANKING: dict[str, Any] = {
    "ranking": [
        {
            "post_id": _POST,
            "rank": 1,
            "score": 1.5,
            "factor": 1.5,
            "factors": {"mask_boost": 1.5, "author_diversity": 1.0},
            "reason": "boosted",
            "why": "Shown higher because masks are worn in this post; this fades over a day.",
        },
        {
            "post_id": "post_01ky3q2m4p6r8t0v2x4z6b8d0f",
            "rank": 2,
            "score": 1.2,
            "factor": 1.0,
            "factors": {"mask_boost": 1.0, "author_diversity": 1.0},
            "reason": "not_boosted",
            "why": None,
        },
        {
            "post_id": "p-77",
            "rank": 3,
            "score": 0.765,
            "factor": 0.85,
            "factors": {"mask_boost": 1.0, "author_diversity": 0.85},
            "reason": "unknown_post",
            "why": "Shown lower so that one author does not fill the feed.",
        },
    ]
}
CAMPAIGN: dict[str, Any] = {
    "id": "cmp_01ky3pzx1c3e5g7j9m1p3r5t7v",
    "name": "Masks for a clinic",
    "sponsor": "Example Sponsor",
    "cause": "Masks for a clinic",
    "status": "active",
    "currency": "EUR",
    "amount_minor": 50,
    "cap_per_author_per_day": 10,
    "budget_minor": 150_000,
    "committed_minor": 50_000,
    "reserved_minor": 10_000,
    "settled_minor": 40_000,
    "left_minor": 100_000,
    "starts_at": "2026-11-01T00:00:00Z",
    "ends_at": None,
}
EVENT: dict[str, Any] = {
    "id": "evt_01ky3q5w0a2c4e6g8j0m2p4r6t",
    "type": "post.analyzed",
    "timestamp": "2026-11-21T09:30:02.118Z",
    "subject": {"type": "post", "id": _POST},
    "sequence": 1,
    "data": {
        "post_id": _POST,
        "author_id": "ada",
        "verdict": {"id": _VERDICT, "outcome": "masked", "source": "model", "sequence": 1},
    },
}
EVENTS: dict[str, Any] = {"data": [EVENT], "next": "WzgxMiwgMTdd"}
ENDPOINT_REQUEST: dict[str, Any] = {"url": "https://feed.example.org/webhooks"}
ENDPOINT: dict[str, Any] = {
    "id": "whe_01ky3q0b2d4f6h8k0n2q4s6v8x",
    "url": "https://feed.example.org/webhooks",
    "event_types": [],
    "status": "active",
    "disabled_at": None,
    "disabled_reason": "",
    "failing_since": None,
    "paused_until": None,
    "public_key": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "created_at": "2026-11-21T09:00:00Z",
    "secret": "whsec_c2hvd24gb25jZSwga2VlcCBpdCBzYWZlIQAAAAAAAAA=",
}
ROTATED: dict[str, Any] = {
    "scheme": "v1",
    "secret": "whsec_b25lIG1vcmUgdGltZSBhbmQga2VlcCBpdCBzYWZlISE=",
    "public_key": "",
    "created_at": "2026-11-21T10:00:00Z",
}
REPLAY_EVENT: dict[str, Any] = {"event_id": EVENT["id"]}
REPLAY_FAILED: dict[str, Any] = {"since": "2026-11-20T00:00:00Z", "only": "failed"}
DIGEST: dict[str, Any] = {
    "as_of": "2026-11-21T10:00:00.000000Z",
    "cursor": "WzgxMiwgMTdd",
    "count": 0,
    "buckets": [{"name": "", "count": 0, "digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],
}
