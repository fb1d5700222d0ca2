"""The benchmarks of the service in their shortest form: that they measure, never how fast anything is."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mask_social.bench import memory, pictures, show
from mask_social.bench.memory import Report, Sample
from moderation.fingerprints import distance, fingerprint
from moderation.similarity import MAX_DISTANCE

BASE = Path(__file__).resolve().parents[2]


def bench(part: str, folder: Path, *options: str) -> Any:
    """Run a part in a process of its own, and return what it measured."""
    numbers = folder / "numbers.json"
    command = [sys.executable, "-m", "mask_social.bench", part, "--long-side", "320", "--json", str(numbers), *options]
    done = subprocess.run(command, cwd=BASE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(numbers.read_text())


def test_the_service_is_measured_beside_the_bare_loop(tmp_path: Path) -> None:
    found = bench("end-to-end", tmp_path, "--photos", "14", "--turns", "1")

    (turn,) = found["turns"]
    assert all(turn[name] > 0 for name in ("bare", "bare_two", "verdicts", "service"))
    assert sum(found["outcomes"].values()) == 14 and "" not in found["outcomes"]
    assert found["counted"] == found["outcomes"]["masked"]  # none is taken for a repeat
    assert found["events"] > 14
    assert {"analysis", "default", "webhooks", "postgres", "redis"} <= found["processor"].keys()


def test_too_many_uploads_are_refused_until_the_queue_has_drained(tmp_path: Path) -> None:
    found = bench("overload", tmp_path, "--photos", "60")

    assert found["refused"] > 0 and found["other"] == 0
    assert set(found["codes"]) == {"overloaded"}
    assert all(int(seconds) >= 1 for seconds in found["retry_after"])
    assert found["drained_seconds"] >= found["resumed_seconds"] > 0


def test_the_memory_of_a_process_is_told_over_its_photos(tmp_path: Path) -> None:
    options = ("--photos", "7", "--distinct", "7", "--count", "4", "--out", str(tmp_path))

    found = bench("memory", tmp_path, *options)

    assert len({sample["process"] for sample in found["samples"]}) == 1
    assert found["samples"][-1]["photos"] <= 4 and found["samples"][-1]["mebibytes"] > 50
    assert (tmp_path / "memory.csv").read_text().startswith("photos,mebibytes,process\n")
    with Image.open(tmp_path / "memory.png") as curve:
        assert curve.size == (960, 420)


def test_no_two_photos_are_near_duplicates(tmp_path: Path) -> None:
    bits = [fingerprint(Image.open(path)).bits for path in pictures.write(tmp_path, 28, 512)]

    assert min(distance(one, other) for one, other in combinations(bits, 2)) > MAX_DISTANCE


def test_growth_is_told_by_the_thousand_photos() -> None:
    flat = [Sample(photos, 200.0, 1) for photos in range(0, 1000, 10)]
    growing = [Sample(photos, 200 + photos / 100, 1) for photos in range(0, 1000, 10)]

    assert Report(flat, 1.0).growth == pytest.approx(0)
    assert Report(growing, 1.0).growth == pytest.approx(10)


def test_the_curve_of_a_single_sample_can_be_drawn(tmp_path: Path) -> None:
    memory.write(Report([Sample(0, 200.0, 1)], 1.0), tmp_path)

    assert (tmp_path / "memory.png").is_file()


def test_numbers_with_sets_are_written(tmp_path: Path) -> None:
    show.write_json(Report([Sample(1, 2.0, 3)], 4.0), tmp_path / "deep" / "numbers.json")

    assert json.loads((tmp_path / "deep" / "numbers.json").read_text())["seconds"] == 4.0
