"""What a verdict earns, where the money stands, who is told, and whether it works."""

from incentives.models.badges import BadgeAward, BadgeBackfill, BadgeChange, BadgeRule
from incentives.models.boosts import Boost, BoostPolicy
from incentives.models.campaigns import Campaign, CampaignDay, LedgerEntry, LedgerProof, Match, Sponsor, Tier
from incentives.models.events import Attempt, Delivery, Event, EventHorizon, SigningKey, WebhookEndpoint
from incentives.models.experiments import Experiment, ExperimentSums, Exposure, Outcome
from incentives.models.farming import Claim, CountedPost, EarningRules, Fingerprint, Flag
from incentives.models.figures import DailyFigures, FiguresMark
from incentives.models.rewards import PendingChange, RewardApplication

__all__ = [
    "Attempt",
    "BadgeAward",
    "BadgeBackfill",
    "BadgeChange",
    "BadgeRule",
    "Boost",
    "BoostPolicy",
    "Campaign",
    "CampaignDay",
    "Claim",
    "CountedPost",
    "DailyFigures",
    "Delivery",
    "EarningRules",
    "Event",
    "EventHorizon",
    "Experiment",
    "ExperimentSums",
    "Exposure",
    "FiguresMark",
    "Fingerprint",
    "Flag",
    "LedgerEntry",
    "LedgerProof",
    "Match",
    "Outcome",
    "PendingChange",
    "RewardApplication",
    "SigningKey",
    "Sponsor",
    "Tier",
    "WebhookEndpoint",
]
