"""`make demo` as its user sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mask_social.demo.pictures import own_posts
from tests.flow.conftest import BASE

pytestmark = pytest.mark.flow


def run_demo(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "mask_social.demo", *arguments],
        cwd=BASE,
        env=environment | {"MASK_SOCIAL_VAR": str(var)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_posts_its_own_pictures_and_everything_comes_of_them_that_must(tmp_path: Path) -> None:
    done = run_demo(tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert {Path(photo["file"]).name: photo["verdict"] for photo in report["photos"]} == {
        post.photo.name: post.expected for post in own_posts()
    }
    totals = report["totals"]
    assert (totals["amiss"], totals["badges"], totals["boosts"], totals["matches"]) == (0, 2, 3, 3)
    [repeat] = [photo for photo in report["photos"] if photo["file"].endswith("patterned.jpg")]
    assert repeat["rewards"]["donation"]["reason"] == "near_duplicate"
    assert report["undone"]["verified"]
    assert report["undone"]["types"] == ["post.withdrawn", "badge.revoked", "donation.voided", "boost.ended"]
    assert report["badge"]["algorithm"] == "RS256"
    assert "5 entries agree" in report["proof"]
    assert totals["events"] == totals["webhooks_verified"] > 0
    assert totals["webhooks_refused"] == 0
    annotated = sorted(path.name for path in (tmp_path / "demo" / "annotated").rglob("*.jpg"))
    assert annotated == sorted(post.photo.name for post in own_posts())
    assert "Traceback" not in done.stdout + done.stderr


def test_no_position_of_an_upload_is_left_in_any_file(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "gps.jpg"
    photo.parent.mkdir()
    photo.write_bytes((BASE / "mask_social/demo/photos/gps.jpg").read_bytes())
    assert Image.open(photo).getexif().get_ifd(0x8825), "the control: the upload has a position"

    done = run_demo(tmp_path / "var", "--photos", str(photo.parent))

    assert done.returncode == 0, done.stdout + done.stderr
    pictures = [path for path in (tmp_path / "var").rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"}]
    assert len(pictures) >= 2  # the stored one and the annotated copy
    for path in pictures:
        assert not Image.open(path).getexif()


def test_it_says_so_and_fails_when_a_photo_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no photo at all")
    (folder / "notes.txt").write_text("no photo either")

    done = run_demo(tmp_path / "var", "--photos", str(folder))

    assert done.returncode == 1
    assert "not_an_image" in done.stdout
    assert "notes.txt: no picture" in done.stdout


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "var", "--photos", str(tmp_path / "nowhere"))

    assert done.returncode == 2
    assert "nowhere is no folder" in done.stderr
