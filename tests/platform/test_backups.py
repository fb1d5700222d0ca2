"""A backup is one that was restored and proved."""

import json
import re
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F

from incentives import rewards
from incentives.models import Campaign
from mask_social import backups
from tests.cast import make_author, make_post, make_verdict
from tests.incentives.builders import make_campaign

pytestmark = pytest.mark.django_db(transaction=True)


def run(command: str, *arguments: str) -> str:
    out = StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


def databases() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall()}


@pytest.fixture
def campaign() -> Campaign:
    """A campaign that has promised something."""
    campaign = make_campaign()
    post = make_post(make_author(), outcome="masked")
    rewards.apply_verdict(make_verdict(post, "masked").pk)
    campaign.refresh_from_db()
    return campaign


def test_a_backup_is_restored_and_proved_beside_the_live_database(campaign: Campaign, tmp_path: Path) -> None:
    before = databases()
    out = run("backup", str(tmp_path), "--check")

    assert "It can be restored." in out
    assert re.search(r"^prove_ledgers \.\.\.\n.* entries agree; .*reserved", out, re.MULTILINE)
    assert re.search(r"^verify_audit \.\.\.\n.* whole", out, re.MULTILINE)
    assert databases() == before, "nothing is left of the trial"
    [dump] = tmp_path.glob("*.dump")
    note = json.loads(dump.with_suffix(".json").read_text())
    assert (note["file"], note["bytes"]) == (dump.name, dump.stat().st_size)
    assert note["server_version"].partition(".")[0] in note["program_version"]
    assert note["migrations"]["incentives"]
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600, "it holds all that the database does"
    assert run("restore_check", str(dump)).endswith("The backup is good.\n")


def test_a_file_that_was_changed_or_cut_is_found(campaign: Campaign, tmp_path: Path) -> None:
    dump = backups.make(tmp_path)
    whole = dump.read_bytes()
    for spoilt in (whole[:-1], whole[:5000] + b"\0" + whole[5001:]):
        assert spoilt != whole
        dump.write_bytes(spoilt)
        with pytest.raises(CommandError, match="is not the file that was written"):
            run("restore_check", str(dump))


def test_a_dump_whose_note_was_forged_with_it_cannot_be_restored(campaign: Campaign, tmp_path: Path) -> None:
    dump = backups.make(tmp_path)
    before = databases()
    dump.write_bytes(dump.read_bytes()[:-2000])
    forge_note(dump)
    with pytest.raises(CommandError, match="pg_restore: "):
        run("restore_check", str(dump))
    assert databases() == before


def forge_note(dump: Path) -> None:
    note = json.loads(dump.with_suffix(".json").read_text())
    note |= {"sha256": backups._digest(dump), "bytes": dump.stat().st_size}
    dump.with_suffix(".json").write_text(json.dumps(note))


def test_books_that_were_tampered_with_are_found_in_the_backup(campaign: Campaign, tmp_path: Path) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # past every trigger, as an intruder would
        Campaign.objects.filter(pk=campaign.pk).update(budget_minor=F("budget_minor") + 1)
    dump = backups.make(tmp_path)
    with pytest.raises(CommandError, match=r"prove_ledgers: .*wrong"):
        run("restore_check", str(dump))


def test_a_dump_without_its_note_is_refused(campaign: Campaign, tmp_path: Path) -> None:
    dump = backups.make(tmp_path)
    dump.with_suffix(".json").unlink()
    with pytest.raises(CommandError, match="nobody can say whether the dump is whole"):
        run("restore_check", str(dump))


def test_only_the_newest_are_kept(campaign: Campaign, tmp_path: Path) -> None:
    for day in range(1, 4):
        for suffix in (".dump", ".json"):
            (tmp_path / f"mask_social-2020010{day}T000000Z{suffix}").touch()
    (tmp_path / "another.dump").touch()
    new = backups.make(tmp_path, keep=2)
    left = {path.name for path in tmp_path.iterdir()}
    kept = {"mask_social-20200103T000000Z.dump", "mask_social-20200103T000000Z.json", "another.dump"}
    assert left == kept | {new.name, new.with_suffix(".json").name}


def test_a_dump_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_parameters", lambda: {"dbname": "nothing", "host": "127.0.0.1", "port": "1"})
    with pytest.raises(CommandError, match="pg_dump: "):
        run("backup", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_server_newer_than_the_programs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_server_version", lambda: "99.1")
    with pytest.raises(CommandError, match=r"no pg_dump of PostgreSQL 99 or newer here \(older ones are "):
        run("backup", str(tmp_path))
