"""The addresses of posts."""

from django.urls import path

from moderation import views

urlpatterns = [
    path("posts", views.PostListView.as_view(), name="posts"),
    path("posts/<slug:post_id>", views.PostView.as_view(), name="post"),
]
