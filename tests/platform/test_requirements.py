"""What runs must be in requirements.lock: the machine that runs the tests has more."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

BASE = Path(__file__).resolve().parents[2]
OWN = {"mask_social", "moderation", "incentives", "ml", "tests"}
#: What is imported only where it is installed: charts, and traces.
OPTIONAL = {"matplotlib", "opentelemetry"}


def locked(name: str) -> set[str]:
    return {normal(found) for found in re.findall(r"^([\w.-]+)==", (BASE / name).read_text(), re.MULTILINE)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> dict[str, Path]:
    """Map each foreign package that the service's own code imports to a file that does."""
    found: dict[str, Path] = {}
    for folder in ("mask_social", "moderation", "incentives", "ml"):
        for path in (BASE / folder).rglob("*.py"):
            if path.is_relative_to(BASE / "ml/training"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                found |= {name.partition(".")[0]: path for name in names}
    return {name: path for name, path in found.items() if name not in OWN | OPTIONAL | sys.stdlib_module_names}


def test_everything_that_the_service_imports_is_locked() -> None:
    distributions = packages_distributions()
    lock = locked("requirements.lock")
    missing = {
        f"{name} in {path.relative_to(BASE)}"
        for name, path in imported().items()
        if not {normal(distribution) for distribution in distributions.get(name, [])} & lock
    }
    assert missing == set()


def test_the_locks_agree_and_name_no_address() -> None:
    pins = {
        name: set(re.findall(r"^([\w.-]+==\S+)", (BASE / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    }
    assert pins["requirements.lock"] <= pins["requirements-dev.lock"]
    for name in pins:
        assert "://" not in (BASE / name).read_text()
