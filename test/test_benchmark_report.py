"""The benchmark's arithmetic: figures that lie are worse than none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import report
from benchmarks.http_peers import Client
from benchmarks.report import OURS, Figure, Row, Target
from benchmarks.timing import Effort, calls_per_second, measure_calls

HERE = Path(__file__).resolve().parent


@pytest.fixture
def cpu() -> Figure:
    return Figure(
        "cpu",
        "CPU a call",
        "µs",
        [Row(OURS, [100, 110, 300]), Row("peer", [200, 220, 600]), Row("late", [50.0])],
    )


def test_a_row_is_its_median():
    assert Row("x", [9, 1, 2]).value == 2
    assert Row("x", [1, 2, 3]).spread == 0  # too few to say
    assert Row("x", [90, 95, 100, 105, 110]).spread == pytest.approx(0.075)


def test_ratio_is_by_rounds_where_samples_were_taken_in_turn():
    figure = Figure("f", "f", "s", [Row("a", [1, 10, 4]), Row("b", [2, 5, 2])])
    assert figure.ratio("a", "b") == 2  # of 0.5, 2 and 2; the medians alone would say 4 / 2
    figure = Figure("f", "f", "s", [Row("a", [1, 10, 40]), Row("b", [2, 5, 8])])
    assert figure.ratio("a", "b") == 2  # the medians alone would say the same
    figure = Figure("f", "f", "s", [Row("a", [1, 9, 9]), Row("b", [1, 2, 90])])
    assert figure.ratio("a", "b") == 1  # the medians alone would say 4.5


def test_ratio_of_medians_where_they_were_not(cpu: Figure):
    assert cpu.ratio(OURS, "late") == 110 / 50
    assert cpu.ratio(OURS, "nobody") is None


def test_a_burden_above_one_is_worse_than_ours_whichever_way_the_figure_points(cpu: Figure):
    rate = Figure("r", "rate", "1/s", [Row(OURS, [200]), Row("peer", [50])], is_cost=False)
    assert cpu.burden("peer") == 2
    assert rate.burden("peer") == 4
    assert rate.burden(OURS) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.4123, "0.412"), (1.239, "1.24"), (17.26, "17.3"), (1290.4, "1,290"), (33.0, "33")],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str):
    assert report.number(value) == shown


def test_table_holds_every_client_its_value_and_our_ratio(cpu: Figure):
    lines = report.table("Calls", [cpu]).splitlines()
    peer = next(line for line in lines if line.startswith("peer"))
    assert peer.split() == ["peer", "220", "0.50"]
    assert next(line for line in lines if line.startswith(OURS)).split() == [OURS, "110"]
    assert len({len(line) for line in lines if line[:1] == "─"}) == 1


def test_table_marks_what_was_not_measured(cpu: Figure):
    other = Figure("rate", "rate", "1/s", [Row(OURS, [5])])
    lines = report.table("Calls", [cpu, other]).splitlines()
    assert next(line for line in lines if line.startswith("late")).endswith("-")


def test_bars_are_as_long_as_the_cost(cpu: Figure):
    ours, peer, late = report.bars(cpu, width=40).splitlines()[1:]
    assert peer.count("█") == 40
    assert ours.count("█") == 20
    assert late.count("█") == 9  # 50 / 110 of ours
    assert f"2{report.TIMES} (220)" in peer


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (Target("t", "cpu", 0.6, "peer"), "holds"),
        (Target("t", "cpu", 0.4, "peer"), "MISSED"),
        (Target("t", "cpu", 0.4, "peer", at_least=True), "holds"),
        (Target("t", "cpu", 100), "MISSED"),
        (Target("t", "cpu", 120), "holds"),
        (Target("t", "cpu", 49, row="late"), "MISSED"),
        (Target("t", "cpu", 0.6, "nobody"), "not measured"),
        (Target("t", "nothing", 0.6, "peer"), "not measured"),
    ],
)
def test_verdicts(cpu: Figure, target: Target, word: str):
    text, (judged,) = report.verdicts([target], [cpu], [OURS])
    assert text.strip().startswith(word)
    assert judged["holds"] is {"holds": True, "MISSED": False}.get(word)


def test_a_target_holds_only_if_every_variant_keeps_it(cpu: Figure):
    cpu.rows.append(Row(f"{OURS}, plain", [300, 330, 900]))
    text, (judged,) = report.verdicts(
        [Target("t", "cpu", 0.6, "peer")], [cpu], [OURS, f"{OURS}, plain"]
    )
    assert judged["holds"] is False
    assert "1.50 (plain)" in text


def test_run_as_json_can_be_written(cpu: Figure):
    data = json.loads(json.dumps(report.as_json([cpu], [], {"peer": "not installed"}, {})))
    assert data["figures"][0]["rows"][1]["ours_divided_by_this"] == 0.5


def test_chart_is_a_png(cpu: Figure, tmp_path: Path):
    pytest.importorskip("matplotlib")
    report.draw_chart([cpu], str(tmp_path / "chart.png"), "a machine")
    assert (tmp_path / "chart.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_calls_from_threads_are_all_made_and_their_errors_are_not_lost():
    made: list[int] = []
    assert calls_per_second(lambda: made.append(1), threads=4, each=25) > 0
    assert len(made) == 100
    with pytest.raises(ZeroDivisionError):
        calls_per_second(lambda: 1 / 0, threads=2, each=1)


def test_every_client_gets_a_sample_a_round():
    clients = [Client("a", lambda: ""), Client("b", lambda: "")]
    for figure in measure_calls(clients, Effort(rounds=3, seconds=0.001)):
        assert [len(row.samples) for row in figure.rows] == [3, 3]


def test_the_script_runs_from_anywhere(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(HERE / "run_performance_tests.py"), "--only", "startup", "--quick",
         "-o", "figures.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert {figure["key"] for figure in figures} >= {"import_ms", "made_ms", "resident_mib"}
    assert "third-party packages after import api_backends" in done.stdout
