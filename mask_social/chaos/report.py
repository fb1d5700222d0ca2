"""What was done, what was checked, and how long it took to recover."""

import json
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mask_social.chaos.tally import Tally

SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Round:
    """One step of the plan: what it did, and how long until nothing was on its way any more."""

    faults: tuple[str, ...]
    did: str
    # From the first moment of the fault until everything was settled; None: it never was.
    recovery_seconds: float | None
    # Of that, while the fault itself lasted.
    fault_seconds: float
    posts: int
    problems: int


@dataclass(slots=True)
class Report:
    """The trial as a whole."""

    seed: int
    repeat: str
    machine: str
    rounds: list[Round] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    traffic: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    times_asked: int = 0
    seconds: float = 0.0
    hours_ahead: float = 0.0

    @property
    def problems(self) -> int:
        """How many promises were found broken."""
        return sum(map(len, self.broken.values()))

    def add(self, tally: Tally) -> int:
        """Take in what a check found; return how much of it is new."""
        self.checked[tally.promise] += tally.checked
        known = self.broken.setdefault(tally.promise, []) if tally.problems else []
        new = [problem for problem in tally.problems if problem not in known]
        known += new
        return len(new)

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        whole = {each.name: getattr(self, each.name) for each in fields(self)}
        whole |= {"rounds": [asdict(each) for each in self.rounds], "problems": self.problems}
        path.write_text(json.dumps(whole, indent=1, ensure_ascii=False))

    def print(self, console: Console) -> None:
        """Show it."""
        console.print(self._rounds())
        console.print(self._promises())
        for title, counts in (
            ("Ended", self.killed),
            ("Sent", self.traffic),
            ("Answered", self.answers),
            ("Came to receivers", self.deliveries),
        ):
            told = ", ".join(f"{count:,} {escape(name)}" for name, count in sorted(counts.items()))
            console.print(f"[bold]{title}:[/] {told or 'nothing'}", highlight=False)
        for note in self.notes:
            console.print(escape(note), highlight=False)
        for promise, problems in self.broken.items():
            console.print(f"[red]Broken: {escape(promise)} ({len(problems)} times)[/]")
            for problem in problems[:SHOWN_PROBLEMS]:
                console.print(f"  {escape(problem)}", soft_wrap=True, highlight=False)
        held = "[green]Every promise held[/]" if not self.problems else f"[red]{self.problems} promises broken[/]"
        console.print(
            f"{held} in {len(self.rounds)} rounds and {self.seconds / 60:.1f} minutes (the service's clock went "
            f"{self.hours_ahead:.0f} hours ahead). Repeat it: {self.repeat}",
            soft_wrap=True,
            highlight=False,
        )

    def _rounds(self) -> Table:
        table = Table(title="Faults", title_justify="left")
        for name, right in (
            ("fault", False),
            ("times", True),
            ("lasted", True),
            ("recovered", True),
            ("at worst", True),
        ):
            table.add_column(name, justify="right" if right else "left")
        names = dict.fromkeys(" + ".join(round_.faults) for round_ in self.rounds)
        for name in names:
            mine = [round_ for round_ in self.rounds if " + ".join(round_.faults) == name]
            took = [round_.recovery_seconds for round_ in mine if round_.recovery_seconds is not None]
            lasted = statistics.median(round_.fault_seconds for round_ in mine)
            middle, worst = (statistics.median(took), max(took)) if took else (float("nan"), float("nan"))
            table.add_row(name, str(len(mine)), *(f"{value:.1f} s" for value in (lasted, middle, worst)))
        return table

    def _promises(self) -> Table:
        table = Table(title=f"Promises, asked after {self.times_asked} rounds", title_justify="left")
        table.add_column("promise")
        table.add_column("looked at", justify="right")
        table.add_column("broken", justify="right")
        for promise, checked in self.checked.items():
            broken = len(self.broken.get(promise, ()))
            table.add_row(promise, f"{checked:,}", f"[red]{broken}[/]" if broken else "0")
        return table
