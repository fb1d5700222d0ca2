"""The pages on which people decide: the queue, the reviewer's word, appeals, re-evaluations."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpRequest
from django.template import engines
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks

from moderation import extensions, posts, reevaluation, reviews
from moderation.admin import posts as post_pages
from moderation.extensions import StaffSection
from moderation.models import Appeal, Platform, Post, Reevaluation, Verdict
from tests import cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(cast.make_reviewer("rosa"))
    return client


def clerk(*permissions: str) -> Client:
    """Sign in somebody of the staff with these permissions alone."""
    user = User.objects.create_user(f"clerk-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def url(name: str, *args: object) -> str:
    return reverse(f"admin:moderation_{name}", args=[str(arg).replace("_", "_5F") for arg in args])


def text(response: Any) -> str:
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def overrule(client: Client, post: Post, outcome: str = "masked", reason: str = "A mask.", **more: str) -> Any:
    said = {"outcome": outcome, "reason": reason, "seen": post.verdicts.latest("sequence").pk} | more
    return client.post(url("post_overrule", post), said, follow=True)


def queued(page: str) -> list[str]:
    return [
        found.replace("_5F", "_") for found in re.findall(r'/moderation/post/(post_5F\w{26})/change/\?queue"', page)
    ]


def test_the_queue_shows_the_doubtful_posts_the_oldest_first(staff: Client) -> None:
    first, second = (cast.make_post(outcome="uncertain", photos=[[{"mask": 0.5}]] * 2) for _ in range(2))
    cast.make_post(outcome="masked")
    posts.withdraw(cast.make_post(outcome="uncertain"))

    page = text(staff.get(url("post_queue")))

    assert queued(page) == [first.pk, second.pk]
    assert "2 posts wait for a person" in page
    assert first.author.external_id in page
    assert "2 photos" in page
    assert page.count("?thumbnail=1") == 2


def test_the_queue_goes_on_behind_a_page(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_pages, "QUEUE_PAGE", 2)
    waiting = [cast.make_post(outcome="uncertain") for _ in range(3)]

    page = text(staff.get(url("post_queue")))
    [after] = re.findall(r'href="\?after=(post_\w+)"', page)

    assert queued(page) == [post.pk for post in waiting[:2]]
    later = text(staff.get(url("post_queue"), {"after": after}))
    assert queued(later) == [waiting[2].pk]
    assert "?after=" not in later


def test_the_list_of_posts_leads_to_the_queue(staff: Client) -> None:
    answer = staff.get(reverse("admin:moderation_post_lead_to_queue"))

    assert (answer.status_code, answer["Location"]) == (302, url("post_queue"))
    assert reverse("admin:moderation_post_lead_to_queue") in text(staff.get(url("post_changelist")))


def test_a_reviewer_overrules_on_the_posts_page(staff: Client) -> None:
    post = cast.make_post(outcome="uncertain")

    page = text(overrule(staff, post, reason="White on white."))

    post.refresh_from_db()
    assert post.outcome == "masked"
    assert "The verdict on" in page
    assert "reviewer: rosa" in page
    assert "White on white." in page
    verdict = post.verdicts.latest("sequence")
    assert (str(verdict.decided_by), verdict.reason) == ("rosa", "White on white.")


def test_from_the_queue_a_reviewer_goes_on_to_the_next(staff: Client) -> None:
    first, second = (cast.make_post(outcome="uncertain") for _ in range(2))
    page = text(staff.get(url("post_change", first) + "?queue"))
    assert f'action="{url("post_overrule", first)}?queue"' in page
    assert url("post_change", second) + "?queue" in page, "it may also be left for later"

    for post, then in ((first, url("post_change", second) + "?queue"), (second, url("post_queue"))):
        said = {"outcome": "masked", "reason": "A mask.", "seen": post.verdicts.get().pk}
        answer = staff.post(url("post_overrule", post) + "?queue", said)
        assert answer["Location"] == then


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"reason": ""}, "This field is required."),
        ({"reason": "  "}, "This field is required."),
        ({"outcome": ""}, "This field is required."),
        ({"outcome": "uncertain"}, "Select a valid choice."),
        ({"outcome": "unmasked"}, "this would change nothing"),
        ({"seen": "ver_old"}, "Somebody else has decided about this post meanwhile."),
    ],
)
def test_a_refused_word_is_shown_with_why_and_what_was_written(
    staff: Client, said: Mapping[str, str], complaint: str
) -> None:
    post = cast.make_post(outcome="unmasked")

    page = text(overrule(staff, post, **({"outcome": "masked", "reason": "Long thought out."} | dict(said))))

    assert complaint in page
    assert "Long thought out." in page or not said.get("reason", "x").strip()
    assert post.verdicts.count() == 1


@pytest.mark.parametrize("status", ["pending", "failed", "withdrawn"])
def test_a_post_that_does_not_stand_offers_no_form_and_takes_no_word(staff: Client, status: str) -> None:
    post = cast.make_post(outcome="unmasked" if status == "withdrawn" else None)
    if status == "withdrawn":
        posts.withdraw(post)
    elif status == "failed":
        Post.objects.update(status="failed", completed_at=post.created_at)
    message = reviews.obstacle(Post.objects.get())
    assert message is not None

    page = text(staff.get(url("post_change", post)))
    said = {"outcome": "masked", "reason": "A mask.", "seen": "none"}
    answer = text(staff.post(url("post_overrule", post), said))

    assert message in page
    assert message in answer
    assert 'name="outcome"' not in page
    assert not Verdict.objects.filter(source="reviewer").exists()


def test_who_may_not_add_verdicts_sees_no_form_and_is_refused() -> None:
    post = cast.make_post(outcome="uncertain")
    reader, reviewer = clerk("view_post"), clerk("view_post", "add_verdict")

    assert "Overrule" not in text(reader.get(url("post_change", post)))
    assert overrule(reader, post).status_code == 403
    assert overrule(Client(), post).redirect_chain[0][0].startswith("/admin/login/")
    assert post.verdicts.count() == 1
    assert clerk().get(url("post_queue")).status_code == 403

    assert "Overrule" in text(reviewer.get(url("post_change", post)))
    assert overrule(reviewer, post).status_code == 200
    assert post.verdicts.count() == 2


def test_a_word_is_sent_by_post_alone(staff: Client) -> None:
    post = cast.make_post(outcome="uncertain")

    assert staff.get(url("post_overrule", post)).status_code == 405
    refused = Client(enforce_csrf_checks=True).post(url("post_overrule", post))
    assert refused.status_code == 403 and b"You are not signed in" in refused.content


def test_a_reason_cannot_run_scripts(staff: Client) -> None:
    post = cast.make_post(outcome="unmasked")
    appeal = reviews.open_appeal(post, "<script>alert(1)</script>")
    overrule(staff, post, reason="<script>alert(2)</script>")
    reviews.dismiss(appeal, cast.make_reviewer(), "<script>alert(3)</script>")

    for page in (url("post_change", post), url("appeal_change", appeal), url("appeal_changelist")):
        assert b"<script>alert(" not in staff.get(page).content


@pytest.fixture
def section() -> Iterator[list[Any]]:
    """A part of another app on the posts' pages: what it was asked, as (post, user)."""
    asked: list[Any] = []

    def context(post: Post, request: HttpRequest) -> Mapping[str, object] | None:
        asked.append((post.pk, str(request.user)))
        return {"earned": f"<{post.outcome}>"} if request.user.is_superuser else None

    before = list(extensions.staff_sections)
    extensions.staff_sections.clear()
    extensions.register_for_staff(StaffSection("What it earned", "moderation/test_section.html", context))
    yield asked
    extensions.staff_sections[:] = before


def test_another_app_adds_a_part_to_a_posts_page(
    staff: Client, section: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    template = engines["django"].from_string("<em>{{ earned }}</em>")
    monkeypatch.setattr("moderation.staff.render_to_string", lambda name, context, request: template.render(context))
    post = cast.make_post(outcome="masked")

    page = staff.get(url("post_change", post)).content.decode()

    assert "What it earned" in page
    assert "<em>&lt;masked&gt;</em>" in page
    assert section == [(post.pk, "rosa")]
    assert "What it earned" not in text(clerk("view_post").get(url("post_change", post)))


def decide(client: Client, appeal: Appeal, decision: str, outcome: str = "", answer: str = "So it is.") -> Any:
    said = {"decision": decision, "outcome": outcome, "answer": answer}
    return client.post(url("appeal_decide", appeal), said, follow=True)


@pytest.fixture
def appeal() -> Appeal:
    return reviews.open_appeal(cast.make_post(outcome="unmasked"), "It has the colour of my skin.")


def test_appeals_are_listed_the_open_ones_first(staff: Client, appeal: Appeal) -> None:
    others = [reviews.open_appeal(cast.make_post(outcome="unmasked"), "Look.") for _ in range(3)]
    user = cast.make_reviewer()
    reviews.dismiss(appeal, user, "No.")
    reviews.uphold(others[1], "masked", user, "Yes.")

    page = text(staff.get(url("appeal_changelist")))

    shown = [found.replace("_5F", "_") for found in re.findall(r"/appeal/(apl_5F\w{26})/change/", page)]
    assert list(dict.fromkeys(shown)) == [others[0].pk, others[2].pk, others[1].pk, appeal.pk]


def test_an_appeal_is_upheld_with_the_right_verdict(staff: Client, appeal: Appeal) -> None:
    page = text(staff.get(url("appeal_change", appeal)))
    assert "It has the colour of my skin." in page
    assert "Photo 1 of the post" in page
    assert 'value="unmasked"' not in page, "that would uphold nothing"

    answer = text(decide(staff, appeal, "uphold", "masked", "You are right."))

    appeal.refresh_from_db()
    assert "The appeal was upheld." in answer
    assert (appeal.status, appeal.answer, str(appeal.decided_by)) == ("upheld", "You are right.", "rosa")
    assert appeal.verdict is not None
    assert (appeal.verdict.outcome, appeal.verdict.source) == ("masked", "appeal")
    decided = text(staff.get(url("appeal_change", appeal)))
    assert "You are right." in decided
    assert 'name="answer"' not in decided


def test_an_appeal_is_dismissed_with_an_answer(staff: Client, appeal: Appeal) -> None:
    decide(staff, appeal, "dismiss", answer="There is none.")

    appeal.refresh_from_db()
    assert (appeal.status, appeal.verdict, appeal.answer) == ("dismissed", None, "There is none.")


@pytest.mark.parametrize(
    ("decision", "outcome", "answer", "complaint"),
    [
        ("uphold", "", "Yes.", "Choose the verdict that is right."),
        ("uphold", "masked", "", "This field is required."),
        ("dismiss", "", " ", "This field is required."),
        ("uphold", "unmasked", "Yes.", "Select a valid choice."),
        ("uphold", "uncertain", "Yes.", "Select a valid choice."),
    ],
)
def test_a_decision_that_is_not_whole_is_refused(
    staff: Client, appeal: Appeal, decision: str, outcome: str, answer: str, complaint: str
) -> None:
    assert complaint in text(decide(staff, appeal, decision, outcome, answer))

    appeal.refresh_from_db()
    assert appeal.status == "open"


def test_a_second_decision_is_told_of_the_first(staff: Client, appeal: Appeal) -> None:
    decide(staff, appeal, "dismiss")

    answer = text(decide(staff, appeal, "uphold", "masked"))

    assert "Somebody else has decided this appeal meanwhile." in answer
    assert appeal.post.verdicts.count() == 1


def test_an_appeal_about_a_withdrawn_post_says_what_can_be_done(staff: Client, appeal: Appeal) -> None:
    posts.withdraw(appeal.post)

    assert "can only be dismissed" in text(staff.get(url("appeal_change", appeal)))
    assert "was withdrawn" in text(decide(staff, appeal, "uphold", "masked"))
    assert "The appeal was dismissed." in text(decide(staff, appeal, "dismiss"))


def test_who_may_not_change_appeals_decides_none(appeal: Appeal) -> None:
    reader = clerk("view_appeal", "view_post", "add_verdict")

    assert 'name="answer"' not in text(reader.get(url("appeal_change", appeal)))
    assert decide(reader, appeal, "dismiss").status_code == 403
    assert decide(clerk("view_appeal", "change_appeal"), appeal, "dismiss").status_code == 200
    assert Appeal.objects.get().status == "dismissed"


def test_a_reevaluation_is_seen_before_it_starts(
    staff: Client, platform: Platform, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    cast.make_post(cast.make_author(platform), outcome="unmasked")
    cast.make_post(outcome="unmasked")
    form = {"platform": platform.pk, "reason": "A better policy."}

    seen = text(staff.post(url("reevaluation_add"), form | {"preview": "1"}))
    assert "1 of the latest 1 posts" in seen
    assert "A better policy." in seen
    assert not Reevaluation.objects.exists()
    other = text(staff.post(url("reevaluation_add"), {"reason": "All of them.", "start": platform.pk}))
    assert "2 of the latest 2 posts" in other, "another scope than the one that was seen"
    assert not Reevaluation.objects.exists()

    with django_capture_on_commit_callbacks() as callbacks:
        started = text(staff.post(url("reevaluation_add"), form | {"start": platform.pk}, follow=True))

    job = Reevaluation.objects.get()
    assert (job.platform, job.reason, str(job.requested_by)) == (platform, "A better policy.", "rosa")
    assert "is under way" in started
    assert 'role="progressbar"' in started
    assert len(callbacks) == 1, "a worker is told"


def test_a_reevaluation_for_everybody_starts_when_it_was_seen(staff: Client) -> None:
    staff.post(url("reevaluation_add"), {"platform": "", "reason": "All of them.", "start": "everybody"})

    assert Reevaluation.objects.get().platform is None


def test_a_reevaluation_without_a_reason_is_refused(staff: Client) -> None:
    assert "This field is required." in text(staff.post(url("reevaluation_add"), {"start": "everybody"}))
    assert not Reevaluation.objects.exists()


def test_a_reevaluation_is_cancelled_by_an_action(staff: Client) -> None:
    job = reevaluation.start(None, cast.make_reviewer(), "All of them.")
    chosen = {"action": "cancel_selected", "_selected_action": [job.pk]}

    assert "1 cancelled" in text(staff.post(url("reevaluation_changelist"), chosen, follow=True))
    assert "0 cancelled" in text(staff.post(url("reevaluation_changelist"), chosen, follow=True))
    assert Reevaluation.objects.get().status == "cancelled"


def test_who_may_not_start_reevaluations_starts_none() -> None:
    reader = clerk("view_reevaluation", "view_post")
    post = cast.make_post(outcome="unmasked")
    job = reevaluation.start(None, cast.make_reviewer(), "All of them.")

    assert reader.get(url("reevaluation_add")).status_code == 403
    assert reader.post(url("reevaluation_add"), {"reason": "x", "start": "everybody"}).status_code == 403
    chosen = {"action": "judge_anew", "_selected_action": [post.pk]}
    reader.post(url("post_changelist"), chosen, follow=True)
    reader.post(url("reevaluation_changelist"), {"action": "cancel_selected", "_selected_action": [job.pk]})
    assert post.verdicts.count() == 1
    assert Reevaluation.objects.get().status == "pending"


def test_selected_posts_are_judged_anew(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    stale, fine = cast.make_post(outcome="unmasked"), cast.make_post(outcome="masked")
    chosen = {"action": "judge_anew", "_selected_action": [stale.pk, fine.pk]}
    monkeypatch.setattr(post_pages, "JUDGED_AT_ONCE", 1)
    assert "start a re-evaluation instead" in text(staff.post(url("post_changelist"), chosen, follow=True))
    assert stale.verdicts.count() == 1
    monkeypatch.undo()

    assert "1 of 2 have another verdict now" in text(staff.post(url("post_changelist"), chosen, follow=True))

    verdict = stale.verdicts.latest("sequence")
    assert (verdict.outcome, verdict.source, verdict.reason) == ("masked", "reevaluation", "Asked for by rosa.")


def make_rows(count: int) -> None:
    for _ in range(count):
        post = cast.make_post(outcome="uncertain", photos=[[{"mask": 0.5}] * 2] * 2)
        reviews.dismiss(reviews.open_appeal(post, "Look."), cast.make_reviewer(f"r{Post.objects.count()}"), "No.")
        reviews.open_appeal(cast.make_post(outcome="unmasked"), "Look.")
        reevaluation.start(post.platform, cast.make_reviewer(f"r{Post.objects.count()}"), "Again.")


def queries(call: Callable[[], object]) -> int:
    call()  # what is read once and kept
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


@pytest.mark.parametrize("name", ["post_queue", "appeal_changelist", "reevaluation_changelist", "reevaluation_add"])
def test_the_number_of_queries_does_not_grow_with_the_rows(staff: Client, name: str) -> None:
    make_rows(2)
    few = queries(lambda: text(staff.get(url(name))))
    make_rows(4)

    assert queries(lambda: text(staff.get(url(name)))) == few <= 16


def test_the_queries_of_a_post_and_an_appeal_do_not_grow_with_their_story(staff: Client) -> None:
    post = cast.make_post(outcome="unmasked", photos=[[{"no_mask": 1.0}]] * 2)
    user = cast.make_reviewer()
    appeal = reviews.open_appeal(post, "Look.")
    pages = [url("post_change", post), url("appeal_change", appeal)]
    few = [queries(lambda page=page: text(staff.get(page))) for page in pages]  # type: ignore[misc]  # bound at once

    reviews.dismiss(appeal, user, "No.")
    for outcome in ("masked", "unmasked", "incorrect"):
        reviews.overrule(post, outcome, cast.make_reviewer(f"r-{outcome}"), "Seen.")
        reviews.dismiss(reviews.open_appeal(post, "Look."), user, "No.")
    many = [queries(lambda page=page: text(staff.get(page))) for page in pages]  # type: ignore[misc]  # as above

    assert all(after <= before + 1 for before, after in zip(few, many, strict=True)), (few, many)
    assert max(many) <= 24
