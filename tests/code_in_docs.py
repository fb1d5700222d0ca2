"""The programs on the pages under docs/: a fence names the file that a reader would put it in."""

import re
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parents[1] / "docs"


def code_of(page: str, name: str) -> str:
    """Return the one program of that name on a page."""
    text = (DOCS / page).read_text()
    [code] = re.findall(rf"^```\w+ {re.escape(name)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(code)


def write_code(page: str, name: str, folder: Path) -> Path:
    """Put a program where it can be run."""
    path = folder / name
    path.write_text(code_of(page, name))
    return path


def module_of(page: str, name: str) -> ModuleType:
    """Load a program in Python."""
    module = ModuleType(name.removesuffix(".py"))
    exec(compile(code_of(page, name), name, "exec"), module.__dict__)  # noqa: S102 - it is what is tested
    return module
