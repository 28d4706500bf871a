"""The report says what was measured, in the document's own places."""

from pathlib import Path
from xml.etree import ElementTree as ET

from bench import plot, report, results
from bench.results import Figure


def figure(work: str, peer: str, value: float, unit: str = "requests/s") -> Figure:
    return Figure(work, peer, value, unit, (value - 1, value + 1))


PAGES = [
    figure("page 10, 1 at once", "waybill", 300),
    figure("page 10, 1 at once", "postgraphile", 150),
    figure("page 10, 1 at once", "limit", 400),
    figure("one, 16 at once", "waybill", 9),
]


def test_a_table_has_medians_spreads_and_ratios_and_is_one_for_each_unit() -> None:
    first, second = report.table([*PAGES, figure("one, p99", "waybill", 5, "ms")]).split("\n\n")
    assert first.splitlines() == [
        "| requests/s | waybill | postgraphile | limit | to postgraphile | to limit |",
        "| --- | --- | --- | --- | --- | --- |",
        "| page 10, 1 at once | 300 (299 to 301) | 150 (149 to 151) | 400 (399 to 401) | 2.00 | 0.75 |",
        "| one, 16 at once | 9.00 (8.00 to 10.0) |  |  |  |  |",
    ]
    assert second.splitlines()[0] == "| ms | waybill |"


def test_only_what_was_measured_is_written_anew() -> None:
    document = "before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\nkept\n<!-- /b -->\n"
    assert report.filled(document, {"a": r"new \1", "c": "nowhere"}) == document.replace("old", r"new \1")


def test_the_plot_draws_each_bar_and_the_goal_line() -> None:
    drawn = ET.fromstring(plot.plot(PAGES, "a machine <with> brackets"))  # noqa: S314 -- our own
    named = [one.tag.partition("}")[2] for one in drawn]
    assert named.count("rect") == 5 + len(PAGES)  # and the legend's
    goals = [one for one in drawn if one.get("class") == "goal"]
    assert len(goals) == 1 + 1
    assert goals[1].get("x1") == str(round(190 + 240 / 401 * 480, 1))  # 0.6 of the limit is more than 1.5 of the peer


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    made = [results.of("one", "waybill", [3.0, 1.0, 2.0], "ms")]
    results.write(tmp_path / "new" / "one.json", made)
    assert results.read(tmp_path / "new" / "one.json") == made == [Figure("one", "waybill", 2.0, "ms", (1.0, 3.0))]
