"""The packages stand on one another in one order."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["models", "access", "graph", "waybill"]  # each may import those before it


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file} imports by a relative name"
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    above = {*PACKAGES[PACKAGES.index(package) + 1 :], "tests"}
    files = [*(ROOT / package).rglob("*.py")]
    assert files
    assert [(file, name) for file in files for name in imported(file) if name.split(".")[0] in above] == []
