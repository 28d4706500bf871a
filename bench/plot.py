"""Requests a second as bars, each kind of work on its own scale, with the line that Waybill is to reach."""

from collections.abc import Iterator
from html import escape
from textwrap import wrap

from bench.results import Figure

_COLOURS = {
    "waybill": "#0a7d5a",
    "cold": "#7cc4ab",
    "limit": "#8a8f98",
    "postgraphile": "#3d6fd6",
    "stock": "#c77d1a",
}
_BAR, _GAP, _LEFT, _WIDTH, _RIGHT, _TOP = 13, 14, 190, 480, 150, 56
_CHARACTERS = 130  # of a line of small text
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px }
.line { stroke: #1f2328 }
.goal { stroke: #c8102e; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .line { stroke: #e6edf3 }
  .goal { stroke: #ff6b6b }
}
"""


def goal(work: str, of: dict[str, float]) -> float | None:
    """What of them Waybill is to reach: so many times PostGraphile, and of a plain page a part of the limit."""
    if "postgraphile" not in of or "limit" not in of:
        return None
    match work.partition(" ")[0].strip(","):
        case "page":
            return max(1.5 * of["postgraphile"], 0.6 * of["limit"])
        case "batch":
            return 1.5 * of["postgraphile"]
        case "one":
            return 2 * of["postgraphile"]
    return None


def plot(figures: list[Figure], machine: str) -> str:
    works: dict[str, list[Figure]] = {}
    for one in figures:
        works.setdefault(one.work, []).append(one)
    drawn = list(_legend())
    y = _TOP
    for work, of in works.items():
        drawn += _bars(work, of, y)
        y += _BAR * len(of) + _GAP
    for line in wrap(machine, _CHARACTERS):
        drawn.append(f'<text class="small" x="8" y="{y + 8}">{escape(line)}</text>')
        y += _BAR + 2
    width, height = _LEFT + _WIDTH + _RIGHT, y + 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    title = "<title>Requests a second, by kind of work and peer</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])


def _legend() -> Iterator[str]:
    yield '<text x="8" y="18">Requests a second: medians, thin lines from the least to the most of all rounds</text>'
    x = 8
    for peer, colour in _COLOURS.items():
        yield f'<rect x="{x}" y="29" width="11" height="11" fill="{colour}"/><text x="{x + 16}" y="39">{peer}</text>'
        x += 36 + 7 * len(peer)
    yield f'<line class="goal" x1="{x}" y1="28" x2="{x}" y2="42"/><text x="{x + 8}" y="39">to be reached</text>'


def _bars(work: str, of: list[Figure], top: int) -> Iterator[str]:
    medians = {one.peer: one.figure for one in of}
    wanted = goal(work, medians)
    most = max(*(one.spread[1] for one in of), wanted or 0, 1)

    def x(value: float) -> float:
        return round(_LEFT + value / most * _WIDTH, 1)

    yield f'<text x="{_LEFT - 8}" y="{top + _BAR * len(of) / 2 + 4}" text-anchor="end">{escape(work)}</text>'
    for number, one in enumerate(of):
        y = top + number * _BAR
        length = round(x(one.figure) - _LEFT, 1)
        colour = _COLOURS[one.peer]
        yield f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR - 2}" fill="{colour}"/>'
        least, greatest = one.spread
        middle = y + _BAR / 2 - 1
        yield f'<line class="line" x1="{x(least)}" y1="{middle}" x2="{x(greatest)}" y2="{middle}"/>'
        end = max(x(greatest), x(wanted or 0)) + 6
        yield f'<text class="small" x="{end}" y="{y + _BAR - 3}">{one.figure:,.0f}</text>'
    if wanted is not None:
        yield f'<line class="goal" x1="{x(wanted)}" y1="{top - 2}" x2="{x(wanted)}" y2="{top + _BAR * len(of)}"/>'
