"""README.md is part of the product: what it says about codes, settings and commands is so."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

from prometheus_client import REGISTRY
from starlette.datastructures import CommaSeparatedStrings, Secret

from access import key_form
from graph import errors as graph_errors
from models.errors import WaybillError
from waybill.cli import COMMANDS
from waybill.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = README.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def known_errors(of: type[WaybillError] = WaybillError) -> set[type[WaybillError]]:
    below = {one for child in of.__subclasses__() if child.__module__ == "models.errors" for one in known_errors(child)}
    return below if of is WaybillError else below | {of}


def test_codes_are_all_in_the_table_and_no_others() -> None:
    transport = {
        graph_errors.BAD_INPUT,
        graph_errors.BAD_REQUEST,
        graph_errors.INTERNAL,
        graph_errors.PARSE_FAILED,
        graph_errors.VALIDATION_FAILED,
    }
    expected = {error.code for error in known_errors()} | transport
    assert {row[0].strip("`") for row in table("Errors")} == expected


def test_every_error_says_something_and_stands_in_the_tree_of_its_module() -> None:
    tree = (ROOT / "models" / "errors.py").read_text().split('"""')[1]
    for error in known_errors():
        assert error.__doc__
        assert re.search(rf"{error.__name__} +{error.code}\b", tree), error


def shown(default: object) -> str:
    if isinstance(default, Secret | CommaSeparatedStrings) or default == "":
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def test_settings_are_all_in_the_table_with_their_defaults() -> None:
    expected = [
        [f"`WAYBILL_{field.name.upper()}`", shown(field.default), field.metadata["help"]]
        for field in dataclasses.fields(Settings)
    ]
    assert table("Settings") == expected


def test_metrics_are_all_in_the_table_and_no_others() -> None:
    for module in (*COMMANDS.values(), "waybill.background", "waybill.reaping"):
        importlib.import_module(module)
    families = [family for family in REGISTRY.collect() if family.name.startswith("waybill_")]
    expected = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert set(re.findall(r"`(waybill_[a-z0-9_]+)`", README)) == expected


def test_every_command_is_named() -> None:
    section = README.split("\n### Commands\n")[1].split("\n#")[0]
    assert set(COMMANDS) <= set(re.findall(r"`([a-z-]+)`", section))


def test_every_block_of_code_ends_where_the_text_goes_on() -> None:
    fences = [line for line in README.splitlines() if line.startswith("```")]
    assert set(fences[1::2]) == {"```"}
    for program in re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        ast.parse(program)


def test_key_that_is_shown_has_the_form_of_a_key() -> None:
    [key] = re.findall(r"wb_[0-9a-f]{16}_[0-9a-f]+", README)
    assert key_form.parts(key) is not None


def test_folders_of_the_map_are_there() -> None:
    block = README.split("## How it is made\n\n```\n")[1].split("```")[0]
    for line in block.splitlines():
        assert (ROOT / line.split()[0]).is_dir(), line
