"""The addresses of this app, below /api/v1/."""

from django.urls import path

from incentives import digest_views, endpoint_views, ranking_api, views

urlpatterns = [
    # An author's id is the platform's own and may hold slashes: /badges goes first, and no id ends so.
    path("authors/<path:external_id>/badges", views.AuthorBadgesView.as_view(), name="author-badges"),
    path("authors/<path:external_id>", views.AuthorView.as_view(), name="author"),
    path("boosts", digest_views.BoostsView.as_view(), name="boosts"),
    path("boosts/digest", digest_views.BoostDigestView.as_view(), name="boost-digest"),
    path("feed/rank", ranking_api.RankView.as_view(), name="feed-rank"),
    path("campaigns", views.CampaignsView.as_view(), name="campaigns"),
    path("campaigns/<str:campaign_id>", views.CampaignView.as_view(), name="campaign"),
    path("events", views.EventsView.as_view(), name="events"),
    path("webhook-endpoints", endpoint_views.EndpointsView.as_view(), name="webhook-endpoints"),
    path("webhook-endpoints/<str:endpoint_id>", endpoint_views.EndpointView.as_view(), name="webhook-endpoint"),
    path(
        "webhook-endpoints/<str:endpoint_id>/test",
        endpoint_views.EndpointTestView.as_view(),
        name="webhook-endpoint-test",
    ),
    path(
        "webhook-endpoints/<str:endpoint_id>/rotate-secret",
        endpoint_views.EndpointRotationView.as_view(),
        name="webhook-endpoint-rotation",
    ),
    path(
        "webhook-endpoints/<str:endpoint_id>/replay",
        endpoint_views.EndpointReplayView.as_view(),
        name="webhook-endpoint-replay",
    ),
]
