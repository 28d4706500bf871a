"""The packages stand on one another in one order."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STEPS = [
    {"models"},
    {"storage", "access"},
    {"graph", "sync", "worker"},
    {"waybill"},
]  # each may import those of the steps before its own
PACKAGES = sorted(set.union(*STEPS))


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file} imports by a relative name"
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    own = next(number for number, step in enumerate(STEPS) if package in step)
    above = set.union(*STEPS[own:], {"tests"}) - {package}
    files = [*(ROOT / package).rglob("*.py")]
    assert files
    assert [(file, name) for file in files for name in imported(file) if name.split(".")[0] in above] == []
