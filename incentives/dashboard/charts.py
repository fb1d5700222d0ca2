"""What a chart shows, for the script that draws it and for the table that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    values: Sequence[float | None]
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and the table that says the same."""

    id: str
    title: str
    labels: Sequence[str]
    lines: Sequence[Line]
    kind: str = "line"
    unit: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """What the script needs."""
        lines = [
            {"name": line.name, "values": list(line.values), "colour": line.colour, "dashed": line.dashed}
            for line in self.lines
        ]
        return {"id": self.id, "kind": self.kind, "labels": list(self.labels), "lines": lines, "unit": self.unit}

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """The same as a table: a label and its values."""
        return [(label, [line.values[place] for line in self.lines]) for place, label in enumerate(self.labels)]
