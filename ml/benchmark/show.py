"""Show a report: tables and lines for people, JSON for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.benchmark.measure import Detection
from ml.benchmark.suite import Report


def show(report: Report, out: Console) -> None:
    """Print the machine, a table per size, one of the starts, and a line for each thing else."""
    machine = report.machine
    _say(out, f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:.0f} GiB, {machine.system}")
    _say(out, f"Python {machine.python}; GPU: {machine.gpu or 'none'}; load before: {_number(machine.load, 2)}")
    if machine.busy:
        _say(out, "Something else was running: trust the ratios, not the milliseconds.")
    for size, results in report.detection.items():
        out.print(_detection(f"{report.photos} photos, long side {size} pixels, one thread on one core", results))
    out.print(_starts(report))
    for line in _lines(report):
        _say(out, line)


def write_json(report: Report, path: Path) -> None:
    """Write all that was measured."""
    values = asdict(report)
    values["plan"] = {
        "contenders": [contender.name for contender in report.plan.contenders],
        "sizes": list(report.plan.sizes),
        "rounds": report.plan.rounds,
        "starts": report.plan.starts,
        "seconds": report.plan.seconds,
    }
    if report.throughput:
        values["throughput"]["ratio"] = report.throughput.ratio
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _detection(title: str, results: list[Detection]) -> Table:
    table = _table(title, "median ms", "95 % ms", "photos/s", "× ours", "crowd / median", "peak MiB", "faces")
    for result in results:
        table.add_row(
            escape(result.name),
            f"{result.median_ms:.1f}",
            f"{result.p95_ms:.1f}",
            f"{result.photos_per_second:.1f}",
            f"{result.ratio:.2f}",
            _number(result.crowd_ratio, 1),
            _number(result.peak_mib, 0),
            str(result.faces),
        )
    return table


def _starts(report: Report) -> Table:
    title = f"start, medians over {report.plan.starts} fresh processes"
    table = _table(title, "weights and first photo s", "from process start s")
    for start in report.starts:
        table.add_row(escape(start.name), f"{start.load_and_first_ms / 1e3:.2f}", f"{start.process_ms / 1e3:.2f}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table("detector", *columns, title=title, title_justify="left")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _lines(report: Report) -> Iterator[str]:
    if report.throughput:
        both = report.throughput
        yield (
            f"ours in {both.processes} processes at once: {both.together:.1f} photos/s, "
            f"{both.ratio:.2f} times one ({both.one:.1f})"
        )
    if report.classification_ms is not None:
        yield f"classification, eight faces at a time: {report.classification_ms:.2f} ms per face"
    if report.whole:
        whole = report.whole
        yield (
            f"a JPEG of {whole.megapixels:.0f} megapixels ({whole.megabytes:.1f} MB), from bytes to states: "
            f"{whole.median_ms:.0f} ms, peak {_number(whole.peak_mib, 0)} MiB"
        )
    if report.gpu:
        same = report.gpu.agreement
        yield (
            f"CUDA beside the CPU: as many faces on {same.same_count} of {same.photos} photos, boxes at most "
            f"{same.largest_box_difference:.3f} pixels apart, scores {same.largest_score_difference:.5f}"
        )
        speeds = ", ".join(f"{speed:.1f} in {processes}" for processes, speed in report.gpu.per_second.items())
        yield f"photos/s on CUDA by number of processes: {speeds}"
    for name, about in report.about.items():
        versions = about["versions"]
        listed = ", ".join(f"{package} {version}" for package, version in dict(versions).items())  # type: ignore[call-overload]
        yield f"{name}: {listed}" + (f"; {about['note']}" if about["note"] else "")
    for name, reason in report.left_out.items():
        yield f"not measured: {name}: {reason}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _say(out: Console, line: str) -> None:
    out.print(escape(line), highlight=False, soft_wrap=True)
