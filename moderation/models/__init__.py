"""Who posts what, what was seen on it, and what was decided."""

from moderation.models.accounts import RecoveryCode, SecondFactor, SignInTally
from moderation.models.analyses import Analysis, Face
from moderation.models.audit import AuditEntry
from moderation.models.ids import IdField, new_appeal_id, new_photo_id, new_platform_id, new_post_id, new_verdict_id
from moderation.models.platforms import ApiKey, Author, IdempotencyKey, Platform
from moderation.models.policies import Policy
from moderation.models.posts import Photo, Post
from moderation.models.verdicts import Appeal, Reevaluation, Verdict

__all__ = [
    "Analysis",
    "ApiKey",
    "Appeal",
    "AuditEntry",
    "Author",
    "Face",
    "IdField",
    "IdempotencyKey",
    "Photo",
    "Platform",
    "Policy",
    "Post",
    "RecoveryCode",
    "Reevaluation",
    "SecondFactor",
    "SignInTally",
    "Verdict",
    "new_appeal_id",
    "new_photo_id",
    "new_platform_id",
    "new_post_id",
    "new_verdict_id",
]
