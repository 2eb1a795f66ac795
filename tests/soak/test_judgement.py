"""How a soak judges its figures: the fitted line, what is left at rest, and both bounds."""

from __future__ import annotations

import pytest

from tests.soak.judgement import Bound, Finding, Sample, judge, slope_per_s, table


def rising(*values: float, every_s: float = 10.0) -> list[Sample]:
    return [Sample(at_s=number * every_s, figures={"files": value}) for number, value in enumerate(values)]


REST = Sample(at_s=0, figures={"files": 7})


@pytest.mark.parametrize(
    ("values", "slope"),
    [((), 0.0), ((5,), 0.0), ((5, 5, 5), 0.0), ((0, 10, 20), 1.0), ((20, 10, 0), -1.0), ((0, 30, 0, 30), 0.6)],
)
def test_the_slope_is_that_of_the_least_squares_line(values: tuple[float, ...], slope: float) -> None:
    assert slope_per_s(rising(*values), "files") == pytest.approx(slope)


def test_samples_of_one_moment_make_no_line() -> None:
    assert slope_per_s(rising(1, 2, 3, every_s=0), "files") == 0.0


def test_a_finding_holds_both_growths_and_their_bounds() -> None:
    bound = Bound(figure="files", noise=4, per_hour=360, at_rest=2)
    after = Sample(at_s=60, figures={"files": 9})
    (finding,) = judge(rising(10, 11, 12), REST, after, [bound])
    assert finding == Finding(
        figure="files", first=7, last=9, highest=12, grew=2.0, allowed=6.0, left=2, left_allowed=2
    )
    assert finding.good


@pytest.mark.parametrize(
    ("values", "last", "good"),
    [
        ((10, 30, 10, 30, 12), 7, True),
        ((10, 20, 30, 40, 50), 7, False),
        ((10, 11, 10, 11, 10), 10, False),
    ],
)
def test_what_goes_on_rising_and_what_does_not_come_back_is_too_much(
    values: tuple[float, ...], last: float, good: bool
) -> None:
    bound = Bound(figure="files", noise=6, at_rest=2)
    (finding,) = judge(rising(*values), REST, Sample(at_s=90, figures={"files": last}), [bound])
    assert finding.good is good
    assert ("**too much**" in table("a server", [finding])[-1]) is not good


def test_the_table_is_markdown() -> None:
    (finding,) = judge(rising(1, 1), REST, REST, [Bound(figure="files", noise=4)])
    assert table("pipes", [finding]) == [
        "| pipes | at rest before | highest | at rest after | left (bound) | grew by the fitted line (bound) | |",
        "|---|--:|--:|--:|--:|--:|---|",
        "| files | 7.0 | 1.0 | 7.0 | +0.0 (0) | +0.00 (4.0) | ok |",
    ]
