"""The log of what staff did."""

import hashlib
import itertools
import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client
from django.urls import reverse

from incentives.models import BoostPolicy, Campaign, Sponsor
from moderation import audit, trail
from moderation.admin_site import StaffSite
from moderation.audit import Deed
from moderation.models import AuditEntry, Photo
from tests import cast
from tests.incentives import builders

ENDPOINTS = "/admin/incentives/webhookendpoint/"
BASE = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client(REMOTE_ADDR="198.51.100.7")
    client.force_login(cast.make_reviewer("rosa"))
    return client


def newest(action: str) -> AuditEntry:
    return AuditEntry.objects.filter(action=action).latest("number")


def since(number: int) -> list[tuple[str, str]]:
    return list(AuditEntry.objects.filter(number__gt=number).order_by("number").values_list("action", "object_type"))


def tampered(sql: str, *values: Any) -> None:
    """Do what the owner of the database can do: write with the triggers off."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, values)
        cursor.execute("SET LOCAL session_replication_role = origin")


def grown(count: int = 5) -> audit.Head:
    for number in range(count):
        audit.record(Deed("change", "moderation.platform", str(number), f"Platform {number}", {"n": number}))
    return audit.current_head()


def test_an_entry_continues_the_one_before_and_the_chain_is_whole() -> None:
    grown(3)

    entries = list(AuditEntry.objects.order_by("number"))
    assert all(later.previous_hash == earlier.hash for earlier, later in itertools.pairwise(entries))
    found = audit.verify()
    assert (found.entries, found.head, list(found.problems)) == (len(entries), audit.current_head(), [])


@pytest.mark.parametrize("sql", ["UPDATE moderation_auditentry SET actor = 'x'", "DELETE FROM moderation_auditentry"])
def test_the_database_refuses_to_change_or_delete_an_entry(sql: str) -> None:
    grown()

    with (
        pytest.raises(ProgrammingError, match="Cannot update or delete"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "somebody else"),
        ("address", "203.0.113.9"),
        ("action", "view"),
        ("object_id", "other"),
        ("object_name", "other"),
        ("details", '{"n": 7}'),
        ("request_id", "other"),
        ("created_at", "2020-01-01T00:00:00Z"),
        ("hash", "0" * 64),
    ],
)
def test_a_changed_entry_is_named(column: str, value: str) -> None:
    head = grown()
    tampered(f"UPDATE moderation_auditentry SET {column} = %s WHERE number = %s", value, head.number - 2)  # noqa: S608 - ours

    assert f"entry {head.number - 2} was changed" in audit.verify().problems


def test_a_missing_entry_is_named() -> None:
    head = grown()
    tampered("DELETE FROM moderation_auditentry WHERE number = %s", head.number - 2)

    assert list(audit.verify().problems) == [f"entry {head.number - 2} is missing"]


def test_an_entry_whose_hash_was_made_anew_no_longer_fits_the_next() -> None:
    head = grown()
    rewritten(head.number - 2, {"actor": "somebody else"})

    assert list(audit.verify().problems) == [
        f"entry {head.number - 1} does not follow from entry {head.number - 2} as it stands"
    ]


def rewritten(number: int, changes: dict[str, object]) -> str:
    """Change an entry and make its hash anew, as whoever knows the format can."""
    [row] = [json.loads(line) for line in audit.export() if json.loads(line)["number"] == number]
    row.pop("hash")
    row |= changes
    digest = hashlib.sha256(audit.canonical(row)).hexdigest()
    for column, value in {**changes, "hash": digest}.items():
        tampered(f"UPDATE moderation_auditentry SET {column} = %s WHERE number = %s", value, number)  # noqa: S608 - ours
    return digest


def test_a_log_that_was_cut_off_is_whole_in_itself_but_not_by_a_head_kept_elsewhere() -> None:
    head = grown()
    tampered("DELETE FROM moderation_auditentry WHERE number > %s", head.number - 2)

    assert not audit.verify().problems
    [problem] = audit.verify([head]).problems
    assert f"entry {head.number}, which was kept elsewhere, is missing" in problem


def test_a_log_that_was_written_anew_is_whole_in_itself_but_not_by_a_head_kept_elsewhere() -> None:
    head = grown()
    before = rewritten(head.number - 1, {"actor": "somebody else"})
    rewritten(head.number, {"previous_hash": before})

    assert not audit.verify().problems
    assert list(audit.verify([head]).problems) == [f"entry {head.number} is not the one that was kept elsewhere"]


def test_the_command_prints_the_head_and_compares_it() -> None:
    head, out = grown(), StringIO()
    call_command("verify_audit", expect=[str(head)], stdout=out)
    assert f"{head.number} entries, whole. Head: {head}" in out.getvalue()

    with pytest.raises(CommandError, match="kept elsewhere"):
        call_command("verify_audit", expect=[f"{head.number}:{'0' * 64}"], stderr=StringIO())
    with pytest.raises(CommandError, match="NUMBER:HASH"):
        call_command("verify_audit", expect=["7"])


def test_an_export_is_verified_by_the_program_in_the_docs_alone(tmp_path: Path) -> None:
    page = (BASE / "docs" / "operations.md").read_text()
    [program] = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sha256" in code]
    audit.record(Deed("change", details={"odd": ["ß", "\u2028", 'a"b\\', "\x01\x7f", "😀", 0.1, 2**60, None, True]}))
    log = tmp_path / "audit.jsonl"

    def verified() -> str:
        done = subprocess.run([sys.executable, "-I", "-c", program, str(log)], capture_output=True, text=True)
        return done.stdout + done.stderr

    lines = list(audit.export())
    log.write_text("\n".join(lines) + "\n")
    assert str(audit.current_head()) in verified()
    log.write_text("\n".join([*lines[:-1], lines[-1].replace("change", "chance")]) + "\n")
    assert str(audit.current_head()) not in verified()


def test_what_json_or_the_database_would_not_keep_as_it_is_becomes_text() -> None:
    audit.record(Deed("x", object_name="a\0b\ud800", details={"n": 1e22, "z": "\0", "d": {1: {2}}, "big": 2**70}))

    assert not audit.verify().problems
    assert newest("x").details == {"n": "1e+22", "z": "", "d": {"1": [2]}, "big": str(2**70)}


@pytest.mark.django_db(transaction=True)
def test_entries_of_many_at_once_make_one_chain() -> None:
    start = audit.current_head().number

    builders.at_once(lambda number: audit.record(Deed("change", object_id=str(number))), range(64), threads=32)

    found = audit.verify()
    assert (found.head.number, list(found.problems)) == (start + 64, [])


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_entries_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_lock", lambda: None)
    lost = []

    def append(number: int) -> None:
        try:
            audit.record(Deed("change", object_id=str(number)))
        except IntegrityError:
            lost.append(number)

    builders.at_once(append, range(64), threads=32)

    assert lost


@pytest.mark.django_db(transaction=True)
def test_an_entry_goes_with_the_change_that_it_tells_of() -> None:
    start = audit.current_head()

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record(Deed("change"))
        _ = 1 / 0

    assert audit.current_head() == start


def test_a_change_is_told_with_what_was_and_what_is(staff: Client) -> None:
    platform = cast.make_platform("instapix")

    staff.post(
        reverse("admin:moderation_platform_change", args=[platform.pk]),
        {"name": "Pix", "slug": "instapix", "is_active": "on"} | inline("api_keys"),
    )

    entry = newest("change")
    assert (entry.actor, entry.address) == ("rosa", "198.51.100.7")
    assert (entry.object_type, entry.object_id) == ("moderation.platform", platform.pk)
    assert entry.details["changes"] == {"name": ["Instapix", "Pix"]}


def inline(prefix: str) -> dict[str, str]:
    return {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}


def test_a_budget_is_told_with_both_sums_and_the_reason(staff: Client) -> None:
    campaign = builders.make_campaign(budget_minor=5000)

    answer = staff.post(
        reverse("admin:incentives_campaign_budget", args=[campaign.pk]), {"budget_minor": "7500", "reason": "More."}
    )

    assert answer.status_code == 302
    entry = newest("budget")
    assert entry.object_id == campaign.pk
    assert entry.details["changes"]["budget_minor"] == [5000, 7500]
    assert "More." in entry.details["said"]


def test_a_switch_an_issued_key_and_its_revocation_are_told(staff: Client) -> None:
    platform = cast.make_platform()
    policy = BoostPolicy.objects.get(platform=None)
    staff.post(reverse("admin:incentives_boostpolicy_switch", args=[policy.pk, "off"]))
    assert newest("switch").details["changes"]["is_enabled"] == [True, False]

    staff.post(
        reverse("admin:moderation_apikey_add"), {"platform": platform.pk, "name": "web", "scopes": ["posts:read"]}
    )
    issued = newest("add")
    assert issued.object_type == "moderation.apikey"
    assert issued.details["changes"]["digest"] == [None, trail.HIDDEN]

    chosen = {"action": "revoke_selected", "_selected_action": [platform.api_keys.get().pk]}
    staff.post(reverse("admin:moderation_apikey_changelist"), chosen)
    before, after = newest("revoke_selected").details["changes"]["revoked_at"]
    assert (before, bool(after)) == (None, True)


def test_an_action_that_changes_other_rows_is_told_by_what_was_chosen(staff: Client) -> None:
    post = cast.make_post(outcome="unmasked")

    staff.post(reverse("admin:moderation_post_changelist"), {"action": "judge_anew", "_selected_action": [post.pk]})

    assert newest("judge_anew").object_type == "moderation.post"


def test_overruling_a_verdict_is_told_with_the_reason(staff: Client) -> None:
    post = cast.make_post(outcome="unmasked", photos=[[{"mask": 0.5}]])
    verdict = post.verdicts.get()

    asked = {"outcome": "masked", "reason": "Look closer.", "seen": verdict.pk}
    assert staff.post(reverse("admin:moderation_post_overrule", args=[post.pk]), asked).status_code == 302

    entry = newest("overrule")
    assert entry.object_id == post.pk
    assert entry.details["changes"]["outcome"] == ["unmasked", "masked"]
    assert "Look closer." in entry.details["said"]


def test_what_is_refused_leaves_no_entry(staff: Client) -> None:
    campaign = builders.make_campaign(budget_minor=5000)
    start = audit.current_head().number

    staff.post(reverse("admin:incentives_campaign_budget", args=[campaign.pk]), {"budget_minor": "-1", "reason": ""})

    assert since(start) == []


def test_the_roles_of_a_person_are_told_and_a_password_never(staff: Client) -> None:
    person = User.objects.create_user("clerk", password="a long and lonely road", is_staff=True)
    role = Group.objects.get(name="Moderator")
    start = audit.current_head().number
    form = {"username": "clerk", "is_active": "on", "is_staff": "on", "groups": [role.pk]}
    form |= {"date_joined_0": f"{person.date_joined:%Y-%m-%d}", "date_joined_1": f"{person.date_joined:%H:%M:%S}"}
    assert staff.post(reverse("admin:auth_user_change", args=[person.pk]), form).status_code == 302
    assert newest("change").details["changes"]["groups"] == [[], ["Moderator"]]

    new = {"password1": "Another.very.long.1", "password2": "Another.very.long.1", "usable_password": "true"}
    assert staff.post(reverse("admin:auth_user_password_change", args=[person.pk]), new).status_code == 302
    entry = AuditEntry.objects.latest("number")
    assert entry.details["changes"] == {"password": [trail.HIDDEN, trail.HIDDEN]}
    assert len(since(start)) == 2
    told = " ".join(str(details) for details in AuditEntry.objects.values_list("details", flat=True))
    person.refresh_from_db()
    assert "Another" not in told
    assert person.password not in told


def test_a_row_that_is_deleted_is_told_with_what_it_held(staff: Client) -> None:
    sponsor = Sponsor.objects.create(name="Breathe")

    staff.post(reverse("admin:incentives_sponsor_delete", args=[sponsor.pk]), {"post": "yes"})

    entry = newest("delete")
    assert (entry.object_id, entry.object_name) == (str(sponsor.pk), "Breathe")
    assert entry.details["changes"]["name"] == ["Breathe", None]


def test_tiers_below_a_campaign_are_told(staff: Client) -> None:
    campaign = builders.make_campaign(status=Campaign.Status.DRAFT)
    page = reverse("admin:incentives_campaign_change", args=[campaign.pk])
    kept = ("name", "sponsor_id", "cause", "priority", "amount_minor", "hold_seconds", "time_zone")
    values = {name.removesuffix("_id"): getattr(campaign, name) for name in kept}
    values |= {"starts_at_0": "2026-01-01", "starts_at_1": "00:00:00", "min_account_age_days": 0}
    tier = {"tiers-0-from_minor": "100", "tiers-0-percent": "50", "tiers-0-campaign": campaign.pk}

    answer = staff.post(page, values | inline("tiers") | {"tiers-TOTAL_FORMS": "1"} | tier)

    assert answer.status_code == 302
    entry = newest("add")
    assert entry.object_type == "incentives.tier"
    assert entry.details["changes"]["percent"] == [None, 50]


def test_coming_and_going_is_told_and_a_name_that_is_nobodys_is_not_kept() -> None:
    User.objects.create_superuser("ada", password="a long and lonely road")
    client, start = Client(REMOTE_ADDR="203.0.113.9"), audit.current_head().number
    login = reverse("admin:login")

    client.post(login, {"username": "my secret pass", "password": "x"})
    client.post(login, {"username": "ada", "password": "x"})
    client.post(login, {"username": "ada", "password": "a long and lonely road"})
    client.post(reverse("admin:logout"))

    told = AuditEntry.objects.filter(number__gt=start).order_by("number")
    assert list(told.values_list("action", "actor", "object_name", "address")) == [
        ("sign_in_failed", "(nobody)", "", "203.0.113.9"),
        ("sign_in_failed", "(nobody)", "ada", "203.0.113.9"),
        ("sign_in", "ada", "ada", "203.0.113.9"),
        ("sign_out", "ada", "ada", "203.0.113.9"),
    ]
    assert "my secret pass" not in "".join(audit.export())


def test_what_a_command_does_to_accounts_is_told_by_the_commands_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", "changepassword"])
    user = User.objects.create_user("ada", password="a long and lonely road")
    user.set_password("another lonely road")
    user.save()
    user.groups.add(Group.objects.get(name="Auditor"))
    user.delete()

    told = AuditEntry.objects.filter(object_name="ada").order_by("number")
    assert set(told.values_list("actor", flat=True)) == {"(manage.py changepassword)"}
    assert list(told.values_list("action", flat=True)) == ["add", "change", "change", "delete"]
    assert told[1].details == {"changes": {"password": [trail.HIDDEN, trail.HIDDEN]}}
    assert told[2].details == {"links": "user_groups", "add": ["Auditor"]}


def test_long_work_holds_no_lock_and_leaves_one_entry_at_its_end() -> None:
    start = audit.current_head().number
    with audit.unrecorded():
        User.objects.create_user("seed-reviewer")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)

    audit.record(Deed("seed"))

    assert since(start) == [("seed", "")]


def test_looking_at_a_photo_is_told(staff: Client) -> None:
    photo = Photo.objects.get(post=cast.make_post())

    staff.get(reverse("admin:moderation_photo_file", args=[photo.pk]))

    entry = newest("view")
    assert (entry.actor, entry.object_type, entry.object_id) == ("rosa", "moderation.photo", photo.pk)
    assert entry.details == {"post": photo.post_id}


def test_a_list_of_thumbnails_is_one_entry(staff: Client) -> None:
    posts = [cast.make_post(outcome="uncertain") for _ in range(3)]

    for page in ("admin:moderation_post_changelist", "admin:moderation_post_queue"):
        start = audit.current_head().number
        staff.get(reverse(page))
        [entry] = AuditEntry.objects.filter(number__gt=start)
        assert entry.action == "view"
        assert set(entry.details["posts"]) == {post.pk for post in posts}


def test_auditors_read_the_log_and_nobody_writes_it() -> None:
    grown()
    page = reverse("admin:moderation_auditentry_changelist")
    auditor, moderator = builders.signed_in("Auditor"), builders.signed_in("Moderator")
    entry = reverse("admin:moderation_auditentry_change", args=[audit.current_head().number])

    assert auditor.get(page).status_code == auditor.get(entry).status_code == 200
    assert moderator.get(page).status_code == 403
    assert page in auditor.get(reverse("admin:index")).content.decode()
    root = Client()
    root.force_login(cast.make_reviewer())
    for way in ("add", "delete"):
        arguments = [] if way == "add" else [audit.current_head().number]
        assert root.post(reverse(f"admin:moderation_auditentry_{way}", args=arguments)).status_code == 403
    assert root.post(entry, {"actor": "x"}).status_code == 403


def test_the_log_is_searched_by_whoever_acted_and_by_what_it_was_done_to(staff: Client) -> None:
    grown(2)
    page = reverse("admin:moderation_auditentry_changelist")
    audit.record(Deed("change", "moderation.platform", "plt_1", "Mine", actor="ada"))

    def found(query: str) -> int:
        return int(staff.get(page, {"q": query}).context["cl"].result_count)

    assert found("ada") == found("plt_1") == 1
    assert found("moderation.platform plt_1") == 1
    assert found("nothing of the kind") == 0


def test_replacing_a_key_is_told_and_the_key_is_not(staff: Client) -> None:
    platform = cast.make_platform()
    cast.make_key(platform)
    old = platform.api_keys.get()

    answer = staff.post(
        reverse("admin:moderation_apikey_rotate_key", args=[old.pk]), {"overlap_hours": "24"}
    ).content.decode()

    [plaintext] = set(re.findall(r"msk_[A-Za-z0-9_-]{43}", answer))
    entry = AuditEntry.objects.latest("number")
    assert (entry.action, entry.object_type, entry.object_id) == ("rotate_key", "moderation.apikey", str(old.pk))
    assert "successor_id" in entry.details["changes"]
    assert plaintext not in "".join(audit.export())


@pytest.mark.parametrize("action", ["disable", "enable"])
def test_switching_an_endpoint_is_told(staff: Client, action: str) -> None:
    endpoint = builders.make_endpoint(cast.make_platform(), "https://feed.example.com/hook")
    if action == "enable":
        staff.post(ENDPOINTS, {"action": "disable", "_selected_action": [endpoint.pk]})

    staff.post(ENDPOINTS, {"action": action, "_selected_action": [endpoint.pk]})

    entry = AuditEntry.objects.latest("number")
    assert (entry.action, entry.object_id) == (action, endpoint.pk)
    assert entry.details["changes"]["status"] in (["active", "disabled"], ["disabled", "active"])


def test_no_page_is_left_out() -> None:
    """What a page says of rows goes through Told, and its views through the site."""
    pages = admin.site._registry.values()
    assert len(pages) > 20
    assert [
        page for page in pages if not isinstance(page, trail.Told) or not isinstance(page.admin_site, StaffSite)
    ] == []
