"""``make chaos``: pull every plug while posts flow in, and prove that nothing is lost and nothing doubled."""

import argparse
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.markup import escape

from mask_social.chaos import plan
from mask_social.chaos.faults import FAULTS, Fault
from mask_social.chaos.report import Report
from mask_social.chaos.scene import Scene
from mask_social.chaos.trial import Trial
from mask_social.env import var_directory
from mask_social.stack import BASE, Stack, StackError

MINUTES = 8.0
PER_SECOND = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a trial; return 0 when every promise held."""
    parser = argparse.ArgumentParser(prog="python -m mask_social.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for so long (default: {MINUTES:g})")
    parser.add_argument("--seed", type=int, help="repeat the plan of another trial")
    parser.add_argument(
        "--only", action="append", default=[], type=_faults, metavar="FAULT", help="again for more; A+B: together"
    )
    parser.add_argument("--rounds", type=int, help="stop after so many faults, should the time not be over before")
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help=f"requests (default: {PER_SECOND:g})")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    if options.list:
        for fault in FAULTS.values():
            console.print(f"{fault.name:<20}{fault.text}")
        return 0
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    out = var_directory(BASE) / "chaos"
    repeat = " ".join(["make chaos", *_options(seed, options)])
    console.print(f"Seed {seed}. Logs: {out / 'stack' / 'log'}", soft_wrap=True)
    if out.exists():
        Stack(out / "stack").stop()  # of a trial that was killed
        shutil.rmtree(out)
    out.mkdir(parents=True)
    report = Report(seed, repeat, f"{platform.platform()}, {os.cpu_count()} cores")
    try:
        with console.status("Starting PostgreSQL, Redis, the web server and the workers") as status:
            scene = Scene(
                out,
                seed,
                per_second=options.per_second,
                analysis_workers=max(1, os.cpu_count() or 1),
                progress=lambda part: status.update(f"Bringing up {part}"),
            )
            with scene:
                trial = Trial(scene, report, partial(_tell, console, time.monotonic()), status.update)
                trial.run(plan.steps(seed, options.only), options.minutes, at_most=options.rounds)
    except StackError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        return 1
    finally:
        report.write(out / "report.json")
    report.print(console)
    console.print(f"Report: {out / 'report.json'}", soft_wrap=True)
    return 1 if report.problems else 0


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        return plan.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _tell(console: Console, began: float, text: str) -> None:
    passed = int(time.monotonic() - began)
    console.print(f"{passed // 60}:{passed % 60:02} {text}", soft_wrap=True)


def _options(seed: int, options: argparse.Namespace) -> list[str]:
    words = [f"--seed {seed}", *(f"--only {'+'.join(fault.name for fault in faults)}" for faults in options.only)]
    words += [f"--minutes {options.minutes:g}"] * (options.minutes != MINUTES)
    words += [f"--rounds {options.rounds}"] * (options.rounds is not None)
    words += [f"--per-second {options.per_second:g}"] * (options.per_second != PER_SECOND)
    return [f'ARGS="{" ".join(words)}"']


if __name__ == "__main__":
    sys.exit(main())
