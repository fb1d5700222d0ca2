"""Badges in the admin: rules with a preview, awards with their history, nothing deleted, no query per row."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incentives.admin.badge_parts import growth_of, sparkline
from incentives.badges import backfill
from incentives.models import BadgeAward, BadgeBackfill, BadgeRule, Event
from moderation.models import Author
from tests.cast import make_author, make_platform
from tests.incentives.conftest import Sent
from tests.incentives.counted import count, held, make_counted

pytestmark = pytest.mark.django_db

RULES, AWARDS, JOBS = (f"/admin/incentives/{name}/" for name in ("badgerule", "badgeaward", "badgebackfill"))
WHY = "Two accounts of one person."


@pytest.fixture
def staff(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def rule(db: None) -> BadgeRule:
    BadgeRule.objects.update(is_active=False)
    return BadgeRule.objects.create(code="two", title="Two <b>", kind="masked_posts", threshold=2)


@pytest.fixture
def award(rule: BadgeRule) -> BadgeAward:
    author = make_author()
    count(author)
    count(author)
    return BadgeAward.objects.get(author=author)


def looker(*permissions: str) -> Client:
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def form_of(rule: BadgeRule, **changed: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("starts_at_0", "starts_at_1", "ends_at_0", "ends_at_1", "valid_days", "series"), "")
    names = ("title", "code", "description", "kind", "threshold", "grace_days", "level", "symbol")
    regions = ",".join(rule.regions)
    return empty | {name: getattr(rule, name) for name in names} | {"is_active": "on", "regions": regions} | changed


def page_of(row: Any) -> str:
    return f"/admin/incentives/{row._meta.model_name}/{row.pk}/change/"


def many_badges(rule: BadgeRule, platform: Any) -> None:
    for _ in range(3):
        author = make_author(platform)
        count(author)
        count(author)


@pytest.mark.parametrize("address", [RULES, AWARDS, JOBS])
def test_a_list_takes_the_same_queries_however_many_rows_it_has(
    staff: Client, rule: BadgeRule, admin_user: User, address: str
) -> None:
    platform = make_platform()
    counts = []
    for number in range(3):
        BadgeRule.objects.create(
            code=f"more-{number}", title="More", kind="streak", threshold=3, series="x", level=number + 1
        )
        many_badges(rule, platform)
        backfill.start(rule, admin_user)
        staff.get(address)
        with CaptureQueriesContext(connection) as queries:
            answer = staff.get(address)
        assert answer.status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1] == counts[2]
    assert counts[0] <= 16


def test_the_page_of_an_award_takes_a_bounded_number_of_queries(staff: Client, award: BadgeAward) -> None:
    for _ in range(6):
        count(award.author)
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(page_of(award)).status_code == 200
    assert len(queries) <= 14, [query["sql"] for query in queries]


def test_the_list_of_rules_shows_artwork_holders_level_and_growth(staff: Client, rule: BadgeRule) -> None:
    BadgeRule.objects.filter(pk="two").update(series="masks", level=5)
    many_badges(rule, make_platform())

    content = staff.get(RULES).content.decode()

    assert 'src="/badges/rules/two/image.svg"' in content
    assert "masks, level 5 (diamond)" in content
    assert "Share 2 photo posts with a mask on." in content
    assert "3 awarded in the last 30 days, 3 at most on a day" in content
    assert "Two &lt;b&gt;" in content and "Two <b>" not in content


def test_growth_is_counted_by_day_and_drawn_by_its_highest(rule: BadgeRule) -> None:
    now = timezone.now()
    for days in (0, 0, 1, 29, 30):
        BadgeAward.objects.create(
            author=make_author(), rule=rule, evidence={}, awarded_at=now - timedelta(days=days), status="revoked"
        )
    growth = growth_of(["two", "first-mask"], now)

    assert (growth["two"][-1], growth["two"][-2], growth["two"][0], sum(growth["two"])) == (2, 1, 1, 4)
    assert sum(growth["first-mask"]) == 0
    drawn = sparkline(growth["two"])
    assert drawn.count("<rect") == 3
    assert 'height="24"' in drawn and 'height="12.0"' in drawn
    assert "<rect" not in sparkline(growth["first-mask"])


def test_a_preview_shows_who_would_gain_and_lose_and_saves_nothing(staff: Client, award: BadgeAward) -> None:
    rule = award.rule
    gains = make_author()
    for _ in range(3):
        make_counted(gains)
    page = page_of(rule)

    looser = staff.post(page, form_of(rule, threshold=1, incentives_badgerule_preview="")).content.decode()
    stricter = staff.post(page, form_of(rule, threshold=3, incentives_badgerule_preview="")).content.decode()

    assert "1 would gain" in looser and "0 would lose" in looser and "1 would keep it" in looser
    assert gains.external_id in looser and "3 of 1" in looser
    assert "1 would gain" in stricter and "1 would lose" in stricter
    assert f"<td>{award.author.external_id}</td>" in stricter and "2 of 3" in stricter
    assert "Share 3 photo posts with a mask on." in stricter, "the artwork and the words are of what is in the form"
    assert 'name="threshold" value="3"' in stricter, "what was typed is still there"
    rule.refresh_from_db()
    assert (rule.threshold, held(award.author), held(gains)) == (2, ["two"], [])
    assert not BadgeBackfill.objects.exists()


def test_a_preview_takes_the_same_queries_however_many_authors_it_names(staff: Client, rule: BadgeRule) -> None:
    platform = make_platform()

    def queries() -> int:
        author = make_author(platform)
        make_counted(author)
        with CaptureQueriesContext(connection) as captured:
            staff.post(page_of(rule), form_of(rule, threshold=1, incentives_badgerule_preview=""))
        return len(captured)

    queries()  # some are asked once and kept
    assert queries() == queries() <= 31


def test_a_rule_that_is_not_there_yet_can_be_previewed_and_then_saved_and_measured(
    staff: Client, rule: BadgeRule, sent: Sent
) -> None:
    author = make_author()
    make_counted(author)
    new = BadgeRule(code="new", title="New", kind="distinct_days", threshold=1)

    content = staff.post(f"{RULES}add/", form_of(new, incentives_badgerule_preview="")).content.decode()
    assert "1 would gain" in content
    assert not BadgeRule.objects.filter(pk="new").exists()

    answer = staff.post(f"{RULES}add/", form_of(new, incentives_badgerule_save_and_measure=""), follow=True)
    assert b"1 authors</a> are being measured" in answer.content
    backfill.work(BadgeBackfill.objects.get().pk, for_at_most=timedelta(minutes=1))
    assert held(author) == ["new"]


def test_saving_a_stricter_rule_says_that_holders_stay_until_everybody_is_measured(
    staff: Client, award: BadgeAward
) -> None:
    page = page_of(award.rule)
    answer = staff.post(page, form_of(award.rule, threshold=9), follow=True)
    assert b"stays as it is until everybody is measured" in answer.content
    assert held(award.author) == ["two"]

    answer = staff.post(page, form_of(award.rule, threshold=9, title="Nine"), follow=True)
    assert b"stays as it is until" not in answer.content, "the title takes nothing from anybody"

    staff.post(RULES, {"action": "measure_everybody", "_selected_action": ["two"]})
    backfill.work(BadgeBackfill.objects.get().pk, for_at_most=timedelta(minutes=1))
    assert held(award.author) == []


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"regions": "DE,Bayern"}, "regions", "“BAYERN” is no ISO 3166 code"),
        ({"grace_days": 2}, "grace_days", "Only a streak"),
        ({"series": "masks", "level": 1}, "level", "has a level 1 already"),
        ({"threshold": 0}, "threshold", "greater than or equal to 1"),
        (
            {"starts_at_0": "2026-01-02", "starts_at_1": "0:00", "ends_at_0": "2026-01-01", "ends_at_1": "0:00"},
            *("ends_at", "must end after"),
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_at_its_field(
    staff: Client, rule: BadgeRule, changed: dict[str, Any], field: str, said: str
) -> None:
    BadgeRule.objects.update_or_create(
        code="first-mask",
        defaults={"title": "Mask-on", "kind": "masked_posts", "threshold": 1, "series": "masks", "level": 1},
    )
    for button in ("_save", "incentives_badgerule_preview"):
        answer = staff.post(page_of(rule), form_of(rule, **changed, **{button: ""}))
        assert answer.status_code == 200
        assert said in answer.context["adminform"].form.errors[field][0]
        assert b"would gain" not in answer.content


def test_regions_are_kept_in_capitals_and_once(staff: Client, rule: BadgeRule) -> None:
    assert staff.post(page_of(rule), form_of(rule, regions="de, DE-BY,de")).status_code == 302
    rule.refresh_from_db()
    assert rule.regions == ["DE", "DE-BY"]


def step(client: Client, award: BadgeAward, name: str, reason: str = WHY) -> Any:
    return client.post(f"{AWARDS}{award.pk}/{name}/", {"reason": reason}, follow=True)


def test_an_award_is_suspended_reinstated_and_revoked_with_reasons_that_its_page_shows(
    staff: Client, award: BadgeAward
) -> None:
    for name, status in (("suspend", "suspended"), ("reinstate", "active"), ("revoke", "revoked")):
        content = step(staff, award, name, f"Because {name} <i>").content.decode()
        award.refresh_from_db()
        assert award.status == status
        assert f"Because {name} &lt;i&gt;" in content
    assert [change.status for change in award.changes.all()] == ["active", "suspended", "active", "revoked"]
    assert {change.actor.username for change in award.changes.all() if change.actor} == {"admin"}


@pytest.mark.parametrize("name", ["suspend", "revoke"])
@pytest.mark.parametrize("reason", ["", "   "])
def test_a_step_without_a_reason_is_refused_at_its_field(
    staff: Client, award: BadgeAward, name: str, reason: str
) -> None:
    answer = step(staff, award, name, reason)

    assert answer.context["form"].errors == {"reason": ["This field is required."]}
    assert b"Reason" in answer.content
    award.refresh_from_db()
    assert (award.status, award.changes.count()) == ("active", 1)


def test_a_step_that_no_longer_follows_is_refused_and_said(staff: Client, award: BadgeAward) -> None:
    step(staff, award, "revoke")
    answer = step(staff, award, "suspend")
    assert b"The badge is revoked." in answer.content
    assert Event.objects.filter(type="badge.suspended").count() == 0


def test_asking_for_a_step_does_not_take_it(staff: Client, award: BadgeAward) -> None:
    content = staff.get(f"{AWARDS}{award.pk}/revoke/").content.decode()
    assert "Posts do not earn it again" in content
    assert held(award.author) == ["two"]


def test_only_the_steps_that_follow_are_offered(staff: Client, award: BadgeAward) -> None:
    def offered() -> list[str]:
        content = staff.get(page_of(award)).content.decode()
        return [name for name in ("suspend", "revoke", "reinstate") if f"{AWARDS}{award.pk}/{name}/" in content]

    assert offered() == ["suspend", "revoke"]
    step(staff, award, "suspend")
    assert offered() == ["revoke", "reinstate"]
    step(staff, award, "revoke")
    assert offered() == ["reinstate"]


def test_whoever_may_only_look_takes_no_step(award: BadgeAward) -> None:
    client = looker("view_badgeaward", "view_badgerule", "view_badgebackfill")
    assert f"{AWARDS}{award.pk}/revoke/" not in client.get(page_of(award)).content.decode()
    for name in ("suspend", "revoke", "reinstate"):
        assert step(client, award, name).status_code == 403
    assert client.post(f"{AWARDS}by-hand/", {}, follow=True).status_code == 403
    client.post(RULES, {"action": "measure_everybody", "_selected_action": ["two"]})
    rule_page = client.post(page_of(award.rule), form_of(award.rule, incentives_badgerule_preview=""))
    assert rule_page.status_code == 403
    assert (held(award.author), BadgeBackfill.objects.count()) == (["two"], 0)


def test_a_badge_is_awarded_by_hand(staff: Client, rule: BadgeRule) -> None:
    author = make_author()
    asked = {"platform": author.platform_id, "author": author.external_id, "rule": "two", "reason": WHY}
    [address] = {part for part in staff.get(AWARDS).content.decode().split('"') if part.endswith("by-hand/")}
    assert staff.get(address).status_code == 200

    content = staff.post(address, asked, follow=True).content.decode()

    assert held(author) == ["two"]
    assert WHY in content and "No post: it was given by hand." in content
    again = staff.post(address, asked)
    assert again.context["form"].errors == {"rule": ["The author holds this badge already."]}


@pytest.mark.parametrize(
    ("field", "value"), [("author", "nobody"), ("reason", ""), ("rule", "none"), ("platform", "x")]
)
def test_an_award_by_hand_is_refused_at_its_field(staff: Client, rule: BadgeRule, field: str, value: str) -> None:
    author = make_author()
    asked = {"platform": author.platform_id, "author": author.external_id, "rule": "two", "reason": WHY}

    answer = staff.post(f"{AWARDS}by-hand/", asked | {field: value})

    assert list(answer.context["form"].errors) == [field]
    assert held(author) == []


def test_an_author_of_another_platform_is_not_found(staff: Client, rule: BadgeRule) -> None:
    Author.objects.create(platform=make_platform(), external_id="ada")
    elsewhere = make_platform()
    asked = {"platform": elsewhere.pk, "author": "ada", "rule": "two", "reason": WHY}
    answer = staff.post(f"{AWARDS}by-hand/", asked)
    assert list(answer.context["form"].errors) == ["author"]


def test_the_page_of_an_award_names_its_posts_and_says_what_became_of_them(staff: Client, award: BadgeAward) -> None:
    first, second = award.evidence["post_ids"]
    content = staff.get(page_of(award)).content.decode()
    assert content.count("/admin/moderation/post/") >= 2
    award.author.posts.get(pk=first).delete()

    content = staff.get(page_of(award)).content.decode()

    assert "erased" in content and first in content
    assert second.replace("_", "_5F") in content


def test_nothing_of_badges_is_deleted_by_hand(staff: Client, award: BadgeAward, admin_user: User) -> None:
    job = backfill.start(award.rule, admin_user)
    for row in (award, award.rule, job):
        page = page_of(row).replace("change", "delete")
        assert staff.post(page, {"post": "yes"}).status_code == 403
        row.refresh_from_db()
        answer = staff.get(f"/admin/incentives/{row._meta.model_name}/").content.decode()
        assert 'value="delete_selected"' not in answer


def test_a_job_shows_how_far_it_is_and_refreshes_until_it_is_over(
    staff: Client, rule: BadgeRule, admin_user: User
) -> None:
    for _ in range(4):
        make_author()
    job = backfill.start(rule, admin_user)
    BadgeBackfill.objects.update(done=1)
    answer = staff.get(page_of(job))
    assert answer["Refresh"] == "2"
    assert 'aria-valuenow="1"' in answer.content.decode() and "width: 25.0%" in answer.content.decode()
    assert "1 of 4" in staff.get(page_of(rule)).content.decode()

    assert staff.get(f"{JOBS}{job.pk}/cancel/").status_code == 403, "following a link cancels nothing"
    assert looker("view_badgebackfill").post(f"{JOBS}{job.pk}/cancel/").status_code == 403
    assert b"Cancelled." in staff.post(f"{JOBS}{job.pk}/cancel/", follow=True).content

    job.refresh_from_db()
    assert job.status == "cancelled"
    assert "Refresh" not in staff.get(page_of(job))


def test_jobs_are_cancelled_from_their_list(staff: Client, rule: BadgeRule, admin_user: User) -> None:
    job = backfill.start(rule, admin_user)
    staff.post(JOBS, {"action": "cancel_selected", "_selected_action": [job.pk]})
    job.refresh_from_db()
    assert job.status == "cancelled"


def test_pages_that_do_not_exist_say_so(staff: Client, award: BadgeAward) -> None:
    assert staff.get(f"{AWARDS}999999/revoke/").status_code == 404
    for address in (f"{AWARDS}abc/change/", f"{AWARDS}999999/change/", f"{JOBS}abc/change/"):
        assert staff.get(address).status_code == 302, "the admin leads back to its front page"


@pytest.mark.parametrize("params", [{"q": "author"}, {"status__exact": "revoked"}, {"by_staff__exact": "1"}])
def test_awards_are_searched_and_filtered(staff: Client, award: BadgeAward, params: dict[str, str]) -> None:
    answer = staff.get(AWARDS, params)
    assert answer.status_code == 200
    found = f"{AWARDS}{award.pk}/change/" in answer.content.decode()
    assert found == ("q" in params)
