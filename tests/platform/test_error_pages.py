"""What staff see when something is refused, missing or broken; platforms get problem details."""

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mask_social import error_pages
from tests import cast

pytestmark = pytest.mark.django_db


def signed_in(role: str) -> Client:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.mark.parametrize(
    ("role", "page", "needed"),
    [
        (
            "Moderator",
            "incentives_campaign_changelist",
            "Auditor</strong>, <strong>Programme manager</strong> or <strong>Sponsor",
        ),
        ("Moderator", "moderation_reevaluation_add", "<strong>Programme manager</strong>."),
        ("Auditor", "incentives_campaign_add", "the role <strong>Programme manager</strong>."),
        ("Auditor", "auth_user_changelist", "Only administrators"),
    ],
)
def test_who_may_not_is_told_which_role_is_missing(role: str, page: str, needed: str) -> None:
    answer = signed_in(role).get(reverse(f"admin:{page}"))

    text = " ".join(answer.content.decode().split())
    assert answer.status_code == 403
    assert "This is not for you" in text
    assert needed in text
    assert "To the dashboard" in text


def test_a_permission_that_a_page_names_is_looked_up() -> None:
    post = cast.make_post(outcome="unmasked")

    answer = signed_in("Auditor").post(reverse("admin:moderation_post_overrule", args=[post.pk]))

    assert "<strong>Moderator</strong>" in answer.content.decode()


def test_a_wrong_address_in_the_admin_is_a_page() -> None:
    answer = signed_in("Auditor").get("/admin/nothing/here/")

    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


def test_a_form_without_its_token_is_a_page() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.make_reviewer())

    answer = client.post(reverse("admin:password_change"), {})

    assert answer.status_code == 403
    assert "The form is out of date" in answer.content.decode()
    assert client.post(reverse("admin:login"), {"username": "x", "password": "y"}).status_code == 403


def test_what_breaks_in_the_admin_is_a_page_that_asks_the_database_nothing() -> None:
    with CaptureQueriesContext(connection) as captured:
        answer = error_pages.server_error(RequestFactory().get("/admin/"))

    assert (answer.status_code, len(captured)) == (500, 0)
    assert "it is our fault" in answer.content.decode()


def test_platforms_get_problem_details_as_before() -> None:
    answer = Client().get("/api/v1/nothing")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


def test_what_django_forbids_outside_of_the_admin_is_a_problem_too() -> None:
    answer = error_pages.forbidden(RequestFactory().get("/api/v1/posts"), PermissionDenied())

    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
