"""The side of the admin: what belongs together, for whoever may see it."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

# (title, icon, page, the permission that shows it)
_Entry = tuple[str, str, str, str]
_SECTIONS: tuple[tuple[str, tuple[_Entry, ...]], ...] = (
    (
        "To look at",
        (
            ("Review queue", "rule", "moderation_post_queue", "moderation.add_verdict"),
            ("Appeals", "gavel", "moderation_appeal_changelist", "moderation.view_appeal"),
            ("Flags", "flag", "incentives_flag_changelist", "incentives.view_flag"),
            ("Near-duplicates", "content_copy", "incentives_claim_changelist", "incentives.view_claim"),
        ),
    ),
    (
        "Posts",
        (
            ("Posts", "photo_library", "moderation_post_changelist", "moderation.view_post"),
            ("Verdicts", "balance", "moderation_verdict_changelist", "moderation.view_verdict"),
            ("Analyses", "frame_person", "moderation_analysis_changelist", "moderation.view_analysis"),
            ("Authors", "group", "moderation_author_changelist", "moderation.view_author"),
            ("Policies", "tune", "moderation_policy_changelist", "moderation.view_policy"),
            ("Re-evaluations", "replay", "moderation_reevaluation_changelist", "moderation.view_reevaluation"),
        ),
    ),
    (
        "Programme",
        (
            ("Badges", "military_tech", "incentives_badgerule_changelist", "incentives.view_badgerule"),
            ("Awards", "workspace_premium", "incentives_badgeaward_changelist", "incentives.view_badgeaward"),
            ("Measuring jobs", "straighten", "incentives_badgebackfill_changelist", "incentives.view_badgebackfill"),
            ("Boosts now", "trending_up", "incentives_boost_changelist", "incentives.view_boost"),
            ("Boost policies", "rocket_launch", "incentives_boostpolicy_changelist", "incentives.view_boostpolicy"),
            ("Earning rules", "checklist", "incentives_earningrules_changelist", "incentives.view_earningrules"),
            ("Experiments", "science", "incentives_experiment_changelist", "incentives.view_experiment"),
        ),
    ),
    (
        "Money",
        (
            ("Campaigns", "volunteer_activism", "incentives_campaign_changelist", "incentives.view_campaign"),
            ("Sponsors", "handshake", "incentives_sponsor_changelist", "incentives.view_sponsor"),
            ("Matches", "payments", "incentives_match_changelist", "incentives.view_match"),
            ("Ledger", "receipt_long", "incentives_ledgerentry_changelist", "incentives.view_ledgerentry"),
            ("Proofs", "fact_check", "incentives_ledgerproof_changelist", "incentives.view_ledgerproof"),
        ),
    ),
    (
        "Platforms",
        (
            ("Platforms", "hub", "moderation_platform_changelist", "moderation.view_platform"),
            ("API keys", "key", "moderation_apikey_changelist", "moderation.view_apikey"),
            (
                "Webhook endpoints",
                "webhook",
                "incentives_webhookendpoint_changelist",
                "incentives.view_webhookendpoint",
            ),
            ("Deliveries", "outgoing_mail", "incentives_delivery_changelist", "incentives.view_delivery"),
            ("Events", "history", "incentives_event_changelist", "incentives.view_event"),
        ),
    ),
    (
        "Staff",
        (
            ("People", "badge", "auth_user_changelist", "auth.view_user"),
            ("Roles", "admin_panel_settings", "auth_group_changelist", "auth.view_group"),
            ("Audit log", "policy", "moderation_auditentry_changelist", "moderation.view_auditentry"),
        ),
    ),
)


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sections, without the pages that this person may not see and without what is empty then."""
    dashboard = {"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index")}
    found: list[dict[str, Any]] = [{"items": [dashboard]}]
    for title, entries in _SECTIONS:
        items = [_item(*entry[:3]) for entry in entries if request.user.has_perm(entry[3])]
        if items:
            found.append({"title": title, "separator": True, "items": items})
    return found


def _item(title: str, icon: str, page: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{page}")}
