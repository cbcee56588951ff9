"""Numbers of the bench: shares, medians, the table of targets."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import main
from tests.bench.load import Load
from tests.bench.measured import measured
from tests.bench.scenarios import SCENARIOS
from tests.bench.table import Result, markdown, rows
from tests.bench.targets import TARGETS, Target

STATS = {
    "calls": 130,
    "in_flight_max": 8,
    "paid_again": 1,
    "most_in_a_minute": 120,
    "statuses": {"200": 110, "429": 10, "503": 10},
}


def test_every_target_is_measured_and_every_scenario_has_a_target() -> None:
    assert {target.row for target in TARGETS} == set(range(13))
    assert {target.scenario for target in TARGETS} == set(SCENARIOS)


@pytest.mark.parametrize(
    ("load", "seconds"),
    [
        (Load(640, concurrency=64, latency_ms=200), 2.0),
        (Load(8, concurrency=64, latency_ms=200), 0.2),
        (Load(200, server={"rpm": 6000}), 2.0),
        (Load(200, concurrency=2, server={"rpm": 6000}), 20.0),
    ],
    ids=["latency", "fewer calls than places", "limit", "latency beyond the limit"],
)
def test_the_ideal_is_what_the_server_alone_takes(load: Load, seconds: float) -> None:
    assert load.ideal == pytest.approx(seconds)


def test_numbers_are_shares_of_the_calls() -> None:
    values = measured(Load(100, concurrency=10), STATS, wall=4.0, finished=98, null=1)
    assert values["wall_over_ideal"] == pytest.approx(2)
    assert values["calls_per_s"] == 25
    assert (values["rows_lost"], values["rows_null"], values["rows_finished_percent"]) == (2, 1, 98)
    assert (values["429s_per_row"], values["503s"], values["500s"]) == (0.1, 10, 0)
    assert values["paid_again_percent"] == 1


@pytest.mark.parametrize(
    ("target", "plain", "value", "met"),
    [
        (Target(1, "base", "", "x", at_most=1.1), 9.0, 1.1, True),
        (Target(1, "base", "", "x", at_most=1.1), 9.0, 1.11, False),
        (Target(1, "base", "", "x", at_least=600), 900.0, 600, True),
        (Target(1, "base", "", "x", at_least=600), 900.0, 599, False),
        (Target(1, "base", "", "x", at_most=1, beats_plain=True), 0.5, 0.6, False),
        (Target(1, "base", "", "x", at_most=1, beats_plain=True), 0.7, 0.6, True),
        (Target(1, "base", "", "x"), 0.7, 0.6, None),
    ],
)
def test_a_target_is_met_at_its_limit(target: Target, plain: float, value: float, met: bool | None) -> None:
    assert target.is_met({"x": plain}, {"x": value}) is met


def test_the_table_holds_medians() -> None:
    outcomes = [
        {"plain": {"wall_over_ideal": plain}, "starmill": {"wall_over_ideal": starmill}}
        for plain, starmill in ((1.5, 1.04), (1.2, 1.05), (1.3, 9.0))
    ]
    table = markdown({"base": Result(outcomes)}, repeats=3)
    assert "| 1 | one worker, 64 x 200 ms: wall / ideal | <= 1.1 | 1.30 | 1.05 | yes |" in table
    assert "Medians of 3" in table


def test_failed_scenario_is_listed_beside_the_measured() -> None:
    results = {
        "base": Result([{"plain": {}, "starmill": {"wall_over_ideal": 2.0}}], "repeat 2 failed: X"),
        "slow": Result([], "repeat 1 failed: Y"),
    }
    table = markdown(results, repeats=2)
    assert "| <= 1.1 | - | 2.00 | NO |" in table
    assert "visibility timeout: paid twice | <= 0 | - | - |  |" in table
    assert "- base: repeat 2 failed: X\n- slow: repeat 1 failed: Y\n" in table
    assert {row["row"] for row in rows(results)} == {1, 2, 6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["base", "bass"], "no scenario 'bass'; there are job, base, jitter"), (["--calls", "0"], "at least 1")],
    ids=["scenario", "calls"],
)
def test_a_wrong_argument_is_named(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
