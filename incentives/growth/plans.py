"""How long work takes over large tables, and how PostgreSQL goes about each of its queries."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

ROUNDS = 5
# A query that touches more rows than this, or reads a whole table of more, is worth a look.
MANY_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and what it was given."""

    sql: str
    parameters: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """How one query went: pages of 8 KB it touched, the most rows a step handled, tables it read from end to end."""

    sql: str
    ms: float
    pages: int
    rows: int
    whole_tables: tuple[str, ...]
    text: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one piece of work took: milliseconds (the median), queries, and the plan of each that only reads."""

    name: str
    ms: float
    queries: int
    plans: tuple[Plan, ...]

    @property
    def pages(self) -> int:
        """Return the pages that its queries touched."""
        return sum(plan.pages for plan in self.plans)

    @property
    def rows(self) -> int:
        """Return the most rows that a step of any plan handled."""
        return max((plan.rows for plan in self.plans), default=0)

    @property
    def whole_tables(self) -> list[str]:
        """Return the large tables that were read from end to end."""
        return sorted({table for plan in self.plans for table in plan.whole_tables})


def measure(name: str, work: Callable[[], object], rounds: int = ROUNDS) -> Measured:
    """Do a piece of work some times, each undone, and read the plans of its queries. The first round warms up."""
    times = []
    asked: list[Asked] = []
    for number in range(rounds + 1):
        with _undone(), _listening() as heard:
            began = time.perf_counter()
            work()
            times.append((time.perf_counter() - began) * 1000)
            if number == 0:
                asked = heard
                plans = tuple(map(_plan, filter(_only_reads, asked)))
    return Measured(name, median(times[1:]), len(asked), plans)


@contextmanager
def _undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def _listening() -> Iterator[list[Asked]]:
    heard: list[Asked] = []

    def listen(execute: Any, sql: str, parameters: Any, many: bool, context: Mapping[str, Any]) -> Any:
        heard.append(Asked(sql, parameters))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(listen):
        yield heard


def _only_reads(asked: Asked) -> bool:
    return asked.sql.lstrip().upper().startswith(("SELECT", "WITH"))


def _plan(asked: Asked) -> Plan:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked.sql}", asked.parameters)
        [(found,)] = _rows(cursor)
    [whole] = found if isinstance(found, list) else json.loads(found)
    nodes = list(_nodes(whole["Plan"]))
    return Plan(
        sql=asked.sql,
        ms=whole["Execution Time"],
        pages=whole["Plan"].get("Shared Hit Blocks", 0) + whole["Plan"].get("Shared Read Blocks", 0),
        rows=max(int(_handled(node)) for node in nodes),
        whole_tables=tuple(
            node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and _handled(node) > MANY_ROWS
        ),
        text=whole["Plan"],
    )


def _rows(cursor: CursorWrapper) -> list[Any]:
    return list(cursor.fetchall())


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _handled(node: Mapping[str, Any]) -> float:
    """Return the rows that a step looked at, those it threw away included."""
    seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(seen * node["Actual Loops"])
