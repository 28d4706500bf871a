"""The figures of all measurements into docs/performance.md and docs/performance.svg.

    .venv/bin/python -m bench.report --results DIRECTORY

What stands in the document between ``<!-- NAME -->`` and ``<!-- /NAME -->`` becomes the table of NAME.json, if it is
there; ``machine`` what this one is.
"""

import argparse
import re
from pathlib import Path

from bench import machine, results
from bench.plot import plot
from bench.results import Figure

_DOCS = Path(__file__).parents[1] / "docs"
_OWN = "waybill"


def table(figures: list[Figure]) -> str:
    """One for each unit: a line for each work, a column for each peer, and what Waybill's figure is to the others'."""
    return "\n\n".join(_table([one for one in figures if one.unit == unit]) for unit in _each(figures, "unit"))


def _table(figures: list[Figure]) -> str:
    peers, found = _each(figures, "peer"), {(one.work, one.peer): one for one in figures}
    compared = _OWN in peers and figures[0].unit != "times"
    others = [peer for peer in peers if peer != _OWN] if compared else []
    lines = [
        f"| {figures[0].unit} | {' | '.join([*peers, *(f'to {other}' for other in others)])} |",
        f"|{' --- |' * (1 + len(peers) + len(others))}",
    ]
    for work in _each(figures, "work"):
        cells = [_cell(found.get((work, peer))) for peer in peers]
        ratios = [_ratio(found.get((work, _OWN)), found.get((work, other))) for other in others]
        lines.append(f"| {work} | {' | '.join(cells + ratios)} |")
    return "\n".join(lines)


def _each(figures: list[Figure], of: str) -> list[str]:
    return list(dict.fromkeys(getattr(one, of) for one in figures))


def _cell(one: Figure | None) -> str:
    if one is None:
        return ""
    least, most = one.spread
    return _number(one.figure) if least == most else f"{_number(one.figure)} ({_number(least)} to {_number(most)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(own: Figure | None, other: Figure | None) -> str:
    return f"{own.figure / other.figure:.2f}" if own and other and other.figure else ""


def filled(document: str, parts: dict[str, str]) -> str:
    """The document with each part between its marks."""
    for name, text in parts.items():
        marked = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        document = marked.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", document)  # type: ignore[misc]
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    chosen = parser.parse_args()
    found = {file.stem: results.read(file) for file in sorted(chosen.results.glob("*.json"))}
    here = machine.described()
    document = _DOCS / "performance.md"
    parts = {name: table(figures) for name, figures in found.items()} | {"machine": here}
    document.write_text(filled(document.read_text(), parts))
    if "pages" in found:
        bars = [one for one in found["pages"] if one.unit == "requests/s" and not one.work.startswith("filter")]
        (_DOCS / "performance.svg").write_text(plot(bars, here))


if __name__ == "__main__":
    main()
