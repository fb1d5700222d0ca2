"""Who of the staff may do what: four roles, as groups of the admin.

`migrate` keeps them complete. A narrower role is a group of one's own; a person may have several.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q
from django.db.models.signals import post_migrate

MODERATOR = "Moderator"
PROGRAMME_MANAGER = "Programme manager"
SPONSOR = "Sponsor"
AUDITOR = "Auditor"

_SEEN_BY_MODERATORS = (
    *("moderation.post", "moderation.photo", "moderation.verdict", "moderation.analysis", "moderation.appeal"),
    *("moderation.author", "moderation.policy", "incentives.claim", "incentives.flag", "incentives.dailyfigures"),
)
_BOOKS = (
    *("incentives.sponsor", "incentives.campaign", "incentives.tier", "incentives.match"),
    *("incentives.ledgerentry", "incentives.campaignday", "incentives.ledgerproof"),
)
_PROGRAMME = (
    *("incentives.badgerule", "incentives.badgeaward", "incentives.badgechange", "incentives.badgebackfill"),
    *("incentives.boost", "incentives.boostpolicy", "incentives.earningrules", "incentives.experiment"),
    *("incentives.dailyfigures", "incentives.event", "incentives.delivery", "incentives.webhookendpoint"),
)


def _all(actions: Iterable[str], models: Iterable[str]) -> set[str]:
    names = (model.split(".") for model in models)
    return {f"{app}.{action}_{model}" for app, model in names for action in actions}


ROLES: Mapping[str, set[str]] = {
    MODERATOR: _all(["view"], _SEEN_BY_MODERATORS)
    | {"moderation.add_verdict", "moderation.change_appeal", "incentives.change_flag"},
    PROGRAMME_MANAGER: _all(["view"], [*_SEEN_BY_MODERATORS, *_BOOKS, *_PROGRAMME])
    | _all(
        ["add", "change"],
        [
            *("incentives.sponsor", "incentives.campaign", "incentives.tier", "incentives.badgerule"),
            *("incentives.boostpolicy", "incentives.earningrules", "incentives.experiment", "incentives.badgebackfill"),
        ],
    )
    | {"incentives.view_every_campaign", "incentives.delete_tier"}
    | {"incentives.add_badgeaward", "incentives.change_badgeaward"}
    | {"moderation.add_reevaluation", "moderation.change_reevaluation", "moderation.view_reevaluation"},
    SPONSOR: _all(["view"], _BOOKS),
    AUDITOR: _all(["view"], [*_SEEN_BY_MODERATORS, *_BOOKS, *_PROGRAMME, "moderation.reevaluation"])
    | {"incentives.view_every_campaign", "moderation.view_auditentry"},
}


def connect() -> None:
    """Keep the roles complete; called once, from ready()."""
    post_migrate.connect(_on_migrate, dispatch_uid="incentives.roles")


def complete() -> None:
    """Add the roles that are missing, and to each the permissions that it lacks."""
    from django.contrib.auth.models import Group, Permission  # no models may be imported before all apps are ready

    ours = Q(content_type__app_label__in=["moderation", "incentives"])
    known = {
        f"{row.content_type.app_label}.{row.codename}": row
        for row in Permission.objects.filter(ours).select_related("content_type")
    }
    for name, wanted in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[code] for code in wanted if code in known))


def _on_migrate(sender: Any, **_: Any) -> None:
    # The permissions of an app are made when its own turn comes; ours is the last of those named here.
    if sender.label == "incentives":
        complete()
