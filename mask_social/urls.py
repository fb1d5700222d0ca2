"""Every address of the service."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.utils.functional import lazy
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from mask_social import health
from mask_social.observability import exposition
from mask_social.schema_page import SchemaView
from moderation import photo_views

urlpatterns = [
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("mask_social/favicon.svg"))),
    path("", RedirectView.as_view(pattern_name="docs")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", exposition.metrics_page, name="metrics"),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("photos/<str:token>", photo_views.photo, name="photo"),
    path("api/v1/", include("moderation.urls")),
    path("api/v1/", include("incentives.urls")),
    path("", include("incentives.credentials.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "mask_social.errors.bad_request"
handler403 = "mask_social.error_pages.forbidden"
handler404 = "mask_social.error_pages.not_found"
handler500 = "mask_social.error_pages.server_error"
