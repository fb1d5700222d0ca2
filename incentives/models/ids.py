"""Public ids of this app's rows."""

from mask_social.ids import new_id


def new_sponsor_id() -> str:
    return new_id("spn")


def new_campaign_id() -> str:
    return new_id("cmp")


def new_match_id() -> str:
    return new_id("mat")


def new_award_id() -> str:
    return new_id("bdg")


def new_experiment_id() -> str:
    return new_id("exp")


def new_event_id() -> str:
    return new_id("evt")


def new_endpoint_id() -> str:
    return new_id("whe")


def new_delivery_id() -> str:
    return new_id("dlv")
