"""Shows a run: a table for the terminal, and the table of docs/performance.md. Pure.

One server: median ± MAD, least..most, n. Two: their medians, the ratio, and the ratio of single rounds.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, of_rows, steady, verdict
from benchmarks.run import Run
from benchmarks.samples import Ratio, Summary, ratio, summary

BEGIN: Final = "<!-- figures: begin; made by python -m benchmarks --markdown -->"
END: Final = "<!-- figures: end -->"
PEER: Final = "peer"
"""The name of the reference in a run: the limits of a ratio are for the ratio to it, and to nobody else."""
_NONE: Final = "–"

Line = tuple[str, ...]


def text(run: Run) -> str:
    """The table for a terminal, with the machine and what could not be measured."""
    head, lines = rows(run)
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    drawn = [
        "  ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(pairs)).rstrip()
        for pairs in (list(zip(line, widths, strict=True)) for line in (head, *lines))
    ]
    return "\n".join([*drawn, "", *notes(run), ""])


def markdown(run: Run) -> str:
    """The part of docs/performance.md between its marks."""
    head, lines = rows(run)
    rule = tuple("---" if at < 2 else "--:" for at in range(len(head)))
    drawn = ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]
    return "\n".join([BEGIN, *drawn, "", *chain.from_iterable((note, "") for note in notes(run)), END])


def placed(document: str, part: str) -> str:
    """The document with this part between its marks. Raises ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _old, end, behind = rest.partition(END)
    if not begin or not end:
        raise ValueError("The document has no place for the figures: put the two marks of benchmarks/table.py into it.")
    return before + part + behind


def notes(run: Run) -> list[str]:
    """What stands below the table."""
    servers = [f"{name}: `{shown_command(command)}`" for name, command in run.servers.items()]
    count = max(len(one) for one in run.rounds.values())
    order = f"{count} rounds in turn (A B, B A, …)" if len(run.servers) > 1 else "one server alone"
    whole = "" if run.scale == 1 else f", scale {run.scale:g}: too few repetitions to be quoted"
    return [
        f"{run.day}, {order}{whole}. {run.machine.line()}.",
        *servers,
        *(f"Not measured: {one}" for one in run.failures),
    ]


def shown_command(command: str) -> str:
    """The command without the folders of the machine it ran on."""
    return shlex.join(Path(word).name if word.startswith("/") else word for word in shlex.split(command))


def rows(run: Run) -> tuple[Line, list[Line]]:
    """Head and lines of the table."""
    names = list(run.servers)
    if len(names) == 1:
        head: Line = ("row", "figure", "unit", "median", "± MAD", "least..most", "n", "must", "aim", "reached")
        return head, [_alone(run, names[0], figure) for figure in of_rows(run.rows)]
    head = ("row", "figure", "unit", *names, "ratio", "of a round", "must", "aim", "reached")
    return head, [_compared(run, names, figure) for figure in of_rows(run.rows)]


def _alone(run: Run, name: str, figure: Figure) -> Line:
    found = _summary(run, name, figure)
    limits = _limits(figure) if figure.own else (_NONE, _NONE)
    begin = (figure.row, figure.what, figure.unit)
    if found is None:
        return (*begin, _NONE, _NONE, _NONE, "0", *limits, _NONE)
    spread = f"{number(found.least)}..{number(found.most)}"
    reached = verdict(figure, found, None) or _NONE
    return (*begin, number(found.median), number(found.mad), spread, f"{found.count}", *limits, reached)


def _compared(run: Run, names: Sequence[str], figure: Figure) -> Line:
    found = [_summary(run, name, figure) for name in names]
    both = ratio(*(run.values(name, figure.key) for name in names))
    medians = [_NONE if one is None else number(one.median) for one in found]
    shown = _NONE if both is None else number(both.value)
    spread = _NONE if both is None else f"{number(both.least)}..{number(both.most)}"
    judged = figure.own or PEER in names
    end = (*_limits(figure), _reached(figure, found[1], both)) if judged else (_NONE,) * 3
    return (figure.row, figure.what, figure.unit, *medians, shown, spread, *end)


def _reached(figure: Figure, own: Summary | None, both: Ratio | None) -> str:
    reached = verdict(figure, own, both)
    if not reached:
        return _NONE
    return reached if steady(figure, both, reached) else f"{reached} (not in every round)"


def _summary(run: Run, name: str, figure: Figure) -> Summary | None:
    return summary([value for one in run.values(name, figure.key) for value in one])


def _limits(figure: Figure) -> tuple[str, str]:
    sign = "≥" if figure.more else "≤"
    whose = " own" if figure.own else ""
    must, aim = (_NONE if limit is None else f"{sign} {number(limit)}{whose}" for limit in (figure.must, figure.aim))
    return must, aim


def number(value: float) -> str:
    """Three significant digits, thousands with a comma, no exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3
    shown = f"{value:.{digits}f}" if size >= 0.01 else f"{value:.2g}"
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown
