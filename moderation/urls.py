"""The addresses of posts and keys."""

from django.urls import path

from moderation import appeals_api, keys_api, photo_views, views

urlpatterns = [
    path("api-keys/current", keys_api.KeyView.as_view(), name="api-key"),
    path("api-keys/current/rotate", keys_api.KeyRotationView.as_view(), name="api-key-rotation"),
    path("posts", views.PostListView.as_view(), name="posts"),
    path("posts/<slug:post_id>", views.PostView.as_view(), name="post"),
    path("photos/<slug:photo_id>/link", photo_views.PhotoLinkView.as_view(), name="photo_link"),
    path("posts/<slug:post_id>/appeals", appeals_api.AppealListView.as_view(), name="appeals"),
]
