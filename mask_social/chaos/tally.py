"""How a check counts: what it looked at, and what it found amiss."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What one check looked at, and each broken promise in words."""

    promise: str
    checked: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> bool:
        """Count one thing, and note where it is not as promised."""
        self.checked += 1
        if not holds:
            self.problems.append(otherwise)
        return holds
