"""Print what was measured, for people; `--json` writes all of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mask_social.bench import end_to_end, memory, overload, path, scaling, uploads
from ml.benchmark.machine import Machine

_WIDTH = 120


def console() -> Console:
    """Return where to print; a log file has no width of its own."""
    found = Console()
    if not found.is_terminal:
        found.width = _WIDTH
    return found


def machine(found: Machine, out: Console) -> None:
    """Name the machine."""
    out.print(f"{found.processor}, {found.cores} cores, {found.memory_gib:.0f} GiB, {found.system}", highlight=False)
    load = "unknown" if found.load is None else f"{found.load:.2f}"
    out.print(f"Python {found.python}; GPU: {found.gpu or 'none'}; load before: {load}", highlight=False)
    if found.busy:
        out.print("Something else was running: trust the ratios, not the milliseconds.")


def stages(result: path.Result, out: Console) -> None:
    """Print what each stage of a post's way cost."""
    rows = [
        (
            name,
            *(f"{value / cost.calls:.1f}" for value in (cost.wall, cost.cpu, cost.sql)),
            f"{cost.queries / cost.calls:.1f}",
        )
        for name, cost in result.costs.items()
    ]
    _table(out, f"{result.posts} posts, one after another", ("stage", "ms", "CPU ms", "of it SQL ms", "queries"), rows)
    kib = result.log_bytes / 1024
    out.print(f"For each post: {result.database_ms:.1f} CPU ms of PostgreSQL, {kib:.1f} KiB of WAL.")
    out.print(f"{result.events} events; outcomes: {_counts(result.outcomes)}; claims: {_counts(result.rulings)}")


def whole_way(report: end_to_end.Report, out: Console) -> None:
    """Print the service beside the bare loop."""
    rows = [
        (
            str(number),
            *(f"{value:.1f}" for value in (turn.bare, turn.bare_two, turn.verdicts, turn.service)),
            f"{turn.service / turn.bare:.0%}",
            f"{turn.service / turn.bare_two:.0%}",
        )
        for number, turn in enumerate(report.turns, 1)
    ]
    columns = ("turn", "bare", "two bare", "verdicts", "all delivered", "of bare", "of two bare")
    _table(out, f"photos/s, {report.posts} posts a turn, {report.workers} analysing", columns, rows)
    out.print(f"Medians: {report.share:.0%} of the bare loop, {report.share_of_two:.0%} of two bare loops at once.")
    out.print(f"With uploads coming in meanwhile: {report.live:.1f} photos/s; uploads alone: {report.uploads:.1f}/s.")
    parts = sorted(report.processor.items(), key=lambda part: -part[1])
    _table(out, "CPU ms for each post, by process", [name for name, _ in parts], [[f"{used:.1f}" for _, used in parts]])
    out.print("For each post: " + ", ".join(f"{amount:,.1f} {name}" for name, amount in report.stores.items()))
    out.print(f"Outcomes: {_counts(report.outcomes)}; {report.counted} counted; {report.events} events.")


def accepting(results: Sequence[uploads.Result], out: Console) -> None:
    """Print what an upload takes."""
    rows = [
        (one.name, str(one.clients), *(f"{value:.1f}" for value in (one.p50, one.p95, one.longest, one.per_second)))
        for one in results
    ]
    _table(out, "uploads", ("to", "clients", "p50 ms", "p95 ms", "longest ms", "uploads/s"), rows)


def refusing(report: overload.Report, out: Console) -> None:
    """Print what became of too many uploads."""
    waits = sorted({wait or "none" for wait in report.retry_after})
    out.print(
        f"{report.accepted} accepted, {report.refused} refused ({_listed(report.statuses)}: {_listed(report.codes)}; "
        f"Retry-After {_listed(waits)}), {report.other} others; the slowest answer took {report.slowest:.0f} ms."
    )
    out.print(
        f"A worker began: accepted again after {report.resumed_seconds:.1f} s, "
        f"nothing left to do after {report.drained_seconds:.1f} s."
    )


def growing(report: scaling.Report, out: Console) -> None:
    """Print one process beside two."""
    rows = [
        (
            str(number),
            *(f"{value:.1f}" for value in (turn.one, turn.two)),
            f"{turn.two / turn.one:.2f}",
            *(f"{value:.1f}" for value in (turn.bare_one, turn.bare_two)),
            f"{turn.bare_two / turn.bare_one:.2f}",
        )
        for number, turn in enumerate(report.turns, 1)
    ]
    title = "verdicts/s" + (", rewards and webhooks held" if report.alone else ", rewards and webhooks beside them")
    _table(out, title, ("turn", "1 process", "2", "ratio", "1 bare loop", "2", "ratio"), rows)
    out.print(f"Medians: {report.ratio:.2f} times; the bare loop {report.bare_ratio:.2f} times.")


def remembering(report: memory.Report, out: Console) -> None:
    """Print whether a worker grows."""
    first, last = report.settled[0], report.settled[-1]
    out.print(
        f"{last.photos:,} photos in {report.seconds:.0f} s: {first.mebibytes:.0f} MiB after {first.photos:,}, "
        f"{last.mebibytes:.0f} MiB at the end, {max(one.mebibytes for one in report.samples):.0f} at most; "
        f"slope {report.growth:+.2f} MiB for 1,000 photos; {report.processes} processes one after another."
    )


def write_json(result: Any, where: Path) -> None:
    """Write all that was measured."""
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps(_plain(result), indent=1, default=sorted) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in ("stage", "to") else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()))


def _listed(values: Any) -> str:
    return ", ".join(map(str, sorted(values)))
