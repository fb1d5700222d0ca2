"""The admin pages of posts, policies, platforms and keys."""

import html
import re
from io import BytesIO

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from PIL import Image

from moderation import analysis, reevaluation, reviews
from moderation.models import ApiKey, Photo, Platform, Policy, Post
from moderation.tasks import analysis_terms
from tests import cast
from tests.moderation.calls import Caller

pytestmark = pytest.mark.django_db
MODELS = ("post", "analysis", "verdict", "policy", "platform", "apikey", "author", "appeal", "reevaluation")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def page(client: Client, name: str, *args: object, **query: str) -> str:
    response = client.get(reverse(f"admin:moderation_{name}", args=args), query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_every_list_and_every_row_is_shown(staff: Client, model: str, platform: Platform) -> None:
    cast.make_key(platform)
    cast.make_post(cast.make_author(platform), outcome="partly_masked", photos=[[{"mask": 1.0}, {"no_mask": 0.9}], []])
    cast.make_post(cast.make_author(platform))
    reviews.open_appeal(cast.make_post(outcome="unmasked"), "Look again.")
    reevaluation.start(platform, cast.make_reviewer(), "A better policy.")

    listed = page(staff, f"{model}_changelist")

    rows = re.findall(rf'href="(/admin/moderation/{model}/[^"/]+/change/)', listed)
    assert rows
    for url in set(rows):
        assert staff.get(url).status_code == 200


def test_a_post_shows_its_faces_verdict_and_stages(staff: Client) -> None:
    cast.make_post(outcome="partly_masked", photos=[[{"mask": 0.98}, {"incorrect": 0.91}]])

    [url] = set(re.findall(r'href="(/admin/moderation/post/[^"/]+/change/)', page(staff, "post_changelist")))
    shown = staff.get(url).content.decode()

    assert "mask 98%" in shown
    assert "worn incorrectly 91%" in shown
    assert '<rect x="10.0" y="5.0" width="8.0" height="10.0"' in shown
    assert "partly masked" in shown
    assert "classify" in shown


def test_a_failed_photo_says_why(staff: Client) -> None:
    post = cast.make_post()
    held = analysis.claim(post.photos.get().pk, analysis_terms())
    assert held is not None
    analysis.fail(held, analysis.Failure("worker_lost", "It brought down its worker."))

    assert "worker_lost" in page(staff, "post_change", post.pk)
    assert "worker_lost" in page(staff, "analysis_changelist")


def test_a_caption_cannot_run_scripts(staff: Client) -> None:
    post = cast.make_post(cast.make_author(external_id="<script>alert(1)</script>"), outcome="masked")
    Post.objects.filter(pk=post.pk).update(caption="<script>alert(2)</script>")

    assert "<script>alert(" not in page(staff, "post_change", post.pk) + page(staff, "post_changelist")


def test_posts_are_found_by_author_verdict_and_status(staff: Client) -> None:
    masked = cast.make_post(cast.make_author(external_id="ann"), outcome="masked")
    waiting = cast.make_post(cast.make_author(external_id="bob"))

    def found(**query: str) -> set[str]:
        return set(re.findall(r"post_[0-9a-z]{26}", page(staff, "post_changelist", **query)))

    assert found() == {masked.pk, waiting.pk}
    assert found(q="ann") == found(outcome="masked") == found(status__exact="analyzed") == {masked.pk}
    assert found(outcome="none") == found(platform__id__exact=waiting.platform.pk) == {waiting.pk}
    assert found(outcome="uncertain") == set()


@pytest.mark.parametrize("model", MODELS)
def test_the_number_of_queries_does_not_grow_with_the_rows(staff: Client, platform: Platform, model: str) -> None:
    def queries(posts: int) -> int:
        for _ in range(posts):
            author = cast.make_author(platform)
            cast.make_post(author, outcome="masked", photos=[[{"mask": 1.0}]] * 2)
            cast.make_key(platform)
        page(staff, f"{model}_changelist")
        with CaptureQueriesContext(connection) as captured:
            page(staff, f"{model}_changelist")
        return len(captured)

    assert queries(2) == queries(5)


def test_photos_are_shown_to_staff_alone(staff: Client, caller: Caller) -> None:
    photo = Photo.objects.get(post=cast.make_post())
    url = reverse("admin:moderation_photo_file", args=[photo.pk])
    clerk = Client()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))

    seen = staff.get(url)
    assert (seen["Content-Type"], seen["X-Content-Type-Options"]) == ("image/jpeg", "nosniff")
    assert seen["Cache-Control"].startswith("private")
    assert seen.content == photo.file.read()
    assert Client().get(url).status_code == 302, "to the login"
    assert caller.client.get(url, headers={"Authorization": f"Bearer {caller.key}"}).status_code == 302
    assert clerk.get(url).status_code == 404


def test_a_thumbnail_is_small_and_tells_nothing_else(staff: Client) -> None:
    photo = Photo.objects.get(post=cast.make_post())
    photo.file.storage.delete(str(photo.file.name))
    photo.file.storage.save(str(photo.file.name), BytesIO(cast.make_jpeg(1600, 800)))

    seen = staff.get(reverse("admin:moderation_photo_file", args=[photo.pk]), {"thumbnail": "1"})

    assert Image.open(BytesIO(seen.content)).size == (160, 80)


def test_a_photo_that_is_gone_is_not_found(staff: Client) -> None:
    photo = Photo.objects.get(post=cast.make_post())
    photo.file.storage.delete(str(photo.file.name))

    assert staff.get(reverse("admin:moderation_photo_file", args=[photo.pk])).status_code == 404


def test_a_key_is_issued_and_shown_once(staff: Client, platform: Platform) -> None:
    asked = {"platform": platform.pk, "name": "web", "scopes": ["posts:read", "feed:rank"]}

    answer = staff.post(reverse("admin:moderation_apikey_add"), asked, follow=True).content.decode()

    [plaintext] = re.findall(r"msk_[A-Za-z0-9_-]{43}", answer)
    assert ApiKey.objects.get().scopes == ["posts:read", "feed:rank"]
    assert Caller(Client(), plaintext).get("posts").status_code == 200
    assert plaintext not in page(staff, "apikey_changelist")
    assert plaintext not in page(staff, "apikey_change", ApiKey.objects.get().pk)


def test_a_platform_leads_to_a_key_of_its_own(staff: Client, platform: Platform) -> None:
    answer = staff.get(reverse("admin:moderation_platform_issue_key", args=[platform.pk]), follow=True)

    assert f'value="{platform.pk}" selected' in answer.content.decode()


def test_keys_are_revoked_by_an_action(staff: Client, caller: Caller) -> None:
    chosen = {"action": "revoke_selected", "_selected_action": [ApiKey.objects.get().pk]}

    staff.post(reverse("admin:moderation_apikey_changelist"), chosen)

    assert caller.get("posts").json()["code"] == "revoked_api_key"


def test_a_policy_is_added_as_the_next_version(staff: Client, platform: Platform) -> None:
    url = reverse("admin:moderation_policy_add")
    initial = staff.get(url).context["adminform"].form.initial
    form = {name: value for name, value in initial.items() if value is not None and name != "platform_id"}

    assert staff.post(url, form | {"mask_sure": 0.8}).status_code == 302
    assert staff.post(url, form | {"platform": platform.pk, "rule": "any"}).status_code == 302

    assert Policy.objects.get(platform=None, version=2).mask_sure == 0.8
    assert Policy.objects.get(platform=platform).version == 1


def test_a_policy_out_of_order_is_refused_at_its_field(staff: Client) -> None:
    url = reverse("admin:moderation_policy_add")
    initial = staff.get(url).context["adminform"].form.initial
    form = {name: value for name, value in initial.items() if value is not None}

    answer = staff.post(url, form | {"mask_sure": 0.2, "mask_likely": 0.3})

    assert list(answer.context["adminform"].form.errors) == ["mask_likely"]
    assert not Policy.objects.filter(version=2).exists()


def test_nothing_of_a_post_can_be_changed_by_hand(staff: Client) -> None:
    post = cast.make_post(outcome="masked")

    for model, key in (("post", post.pk), ("verdict", post.verdicts.get().pk), ("policy", cast.make_policy().pk)):
        assert (
            staff.post(reverse(f"admin:moderation_{model}_change", args=[key]), {"status": "failed"}).status_code == 403
        )
        assert staff.post(reverse(f"admin:moderation_{model}_delete", args=[key]), {"post": "yes"}).status_code == 403


def test_an_authors_posts_are_found_whatever_the_authors_id(staff: Client) -> None:
    post = cast.make_post(cast.make_author(external_id="a&b=#1"))

    listed = page(staff, "author_changelist")
    link = html.unescape(re.findall(r'href="(/admin/moderation/post/\?q=[^"]*)"', listed)[0])

    assert post.pk in staff.get(link).content.decode()


def test_somebody_is_made_and_given_a_role_on_pages_that_look_like_the_others(staff: Client) -> None:
    people = reverse("admin:auth_user_changelist")
    password = "a-long-enough-password"
    fields = {"username": "mira", "password1": password, "password2": password, "usable_password": "true"}
    made = staff.post(f"{people}add/", fields)
    mira = User.objects.get(username="mira")
    assert made.status_code == 302

    form = staff.get(f"{people}{mira.pk}/change/").content.decode()
    assert re.search(r'<input[^>]*name="username"[^>]*class="[^"]*border', form), "a field can be seen to be one"
    moderators = Group.objects.get(name="Moderator")
    given = {"username": "mira", "is_active": "on", "is_staff": "on", "groups": moderators.pk}
    moment = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert staff.post(f"{people}{mira.pk}/change/", given | moment).status_code == 302

    assert "Moderator" in staff.get(people).content.decode()
    assert mira.has_perm("moderation.view_appeal")
    assert staff.get(reverse("admin:auth_group_change", args=[moderators.pk])).status_code == 200
