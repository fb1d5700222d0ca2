"""The public addresses of badges: no key is asked for, and what they answer may be kept and framed by anybody."""

from django.urls import path

from incentives.credentials import views

urlpatterns = [
    path(".well-known/jwks.json", views.key_set, name="badge-keys"),
    path("badges/issuer", views.issuer, name="badge-issuer"),
    path("badges/keys/<str:thumbprint>", views.key, name="badge-key"),
    path("badges/rules/<slug:code>", views.rule, name="badge-rule"),
    path("badges/rules/<slug:code>/image.svg", views.rule_image, name="badge-rule-image"),
    path("badges/status/<str:purpose>/<int:number>", views.status, name="badge-status"),
    # An award's id begins with bdg_, so that it is none of the names above.
    path("badges/<str:public_id>", views.page, name="badge-page"),
    path("badges/<str:public_id>/credential", views.credential, name="badge-credential"),
    path("badges/<str:public_id>/image.svg", views.image, name="badge-image"),
]
