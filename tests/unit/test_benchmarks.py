"""The pure parts of the benchmark: statistics, verdicts, whose turn it is, tables, what the fake provider is told."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.answers import deltas, noise_png
from benchmarks.channels import frame_at
from benchmarks.directive import Directive, of_request, parsed, written
from benchmarks.figures import FIGURES, ROWS, Figure, of_rows, steady, verdict
from benchmarks.machine import Machine, cpu_model, filesystem_of
from benchmarks.peer import cache_folder
from benchmarks.rounds import interleaved
from benchmarks.run import Run, from_json, to_json
from benchmarks.samples import Ratio, Summary, percentile, ratio, summary
from benchmarks.session import GROUPS
from benchmarks.table import BEGIN, END, markdown, number, placed, shown_command, text

MACHINE = Machine(
    cpu="A Processor",
    cores=2,
    python="3.11.0",
    kernel="Linux 6.0",
    filesystem="ext4",
    load_before=0.5,
    load_most=3,
    load_after=1.25,
    loop_before_ms=10,
    loop_after_ms=12.34,
)
FEWER = Figure(key="x", row="P1", what="x", unit="ms", must=1.25, aim=0.6)
MORE = Figure(key="x", row="P1", what="x", unit="/s", must=3, aim=8, more=True)
OWN = Figure(key="x", row="P1", what="x", unit="×", must=1.2, aim=1.05, own=True)


def run_of(rounds: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], **changes: Any) -> Run:
    servers = {name: f"run {name}" for name in rounds}
    told: dict[str, Any] = {"rows": ["P1"], "scale": 1.0, **changes}
    return Run(machine=MACHINE, day="2026-01-02", servers=servers, rounds=rounds, **told)


def test_a_summary_is_the_median_its_spread_and_the_ends() -> None:
    assert summary([9.0, 1.0, 2.0, 3.0, 2.0]) == Summary(median=2.0, mad=1.0, least=1.0, most=9.0, count=5)
    assert summary([]) is None


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_a_ratio_is_b_by_a_over_all_rounds_and_in_the_least_and_most_of_a_round() -> None:
    assert ratio([[10.0, 10.0], [20.0]], [[5.0], [30.0, 30.0]]) == Ratio(value=3.0, least=0.5, most=1.5)


def test_rounds_without_a_value_have_no_ratio_of_their_own() -> None:
    assert ratio([[10.0], []], [[20.0], [70.0]]) == Ratio(value=4.5, least=2.0, most=2.0)


@pytest.mark.parametrize(("rounds_a", "rounds_b"), [([[]], [[1.0]]), ([[1.0]], [[]]), ([[0.0]], [[1.0]])])
def test_nothing_is_divided_by_nothing(rounds_a: list[list[float]], rounds_b: list[list[float]]) -> None:
    assert ratio(rounds_a, rounds_b) is None


def test_two_servers_take_turns_and_neither_always_comes_first() -> None:
    order = [(0, "A"), (0, "B"), (1, "B"), (1, "A"), (2, "A"), (2, "B")]
    assert list(interleaved(["A", "B"], 3)) == order


@pytest.mark.parametrize(
    ("figure", "value", "reached"),
    [
        (FEWER, 0.6, "aim"),
        (FEWER, 0.61, "must"),
        (FEWER, 1.26, "missed"),
        (MORE, 8.0, "aim"),
        (MORE, 7.9, "must"),
        (MORE, 2.9, "missed"),
    ],
)
def test_a_ratio_is_judged_by_the_limits_of_its_figure(figure: Figure, value: float, reached: str) -> None:
    assert verdict(figure, None, Ratio(value=value, least=value, most=value)) == reached


def test_a_figure_of_our_own_is_judged_by_its_value_whatever_the_peer_does() -> None:
    own = Summary(median=1.1, mad=0, least=1, most=9, count=3)
    assert verdict(OWN, own, Ratio(value=7, least=7, most=7)) == "must"
    assert verdict(OWN, None, Ratio(value=1, least=1, most=1)) == ""
    assert verdict(FEWER, own, None) == ""


def test_what_holds_by_the_median_alone_is_told_apart() -> None:
    assert steady(FEWER, Ratio(value=0.5, least=0.4, most=0.6), "aim")
    assert not steady(FEWER, Ratio(value=0.5, least=0.4, most=0.7), "aim")
    assert not steady(MORE, Ratio(value=9, least=7, most=11), "aim")


def test_every_row_of_the_table_of_figures_is_measured_by_a_group() -> None:
    assert set(ROWS) == set().union(*(group.rows for group in GROUPS))
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)
    assert [figure.row for figure in of_rows(["P1", "P16"])] == ["P1", "P16"]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: str(figure.key))
def test_an_aim_is_never_easier_than_its_must(figure: Figure) -> None:
    if figure.must is not None and figure.aim is not None:
        assert figure.aim >= figure.must if figure.more else figure.aim <= figure.must


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.5, "1.5"), (0.25, "0.25"), (0.0012, "0.0012")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_the_table_of_one_server_has_spread_and_count() -> None:
    run = run_of({"server": [{"initialize_ms": [50.0, 60.0, 100.0]}]}, failures=["P9 of server: it ended"])
    assert text(run) == (
        "row  figure                             unit  median  ± MAD  least..most  n  must  aim  reached\n"
        "P1   spawn → initialize answered, warm    ms      60     10      50..100  3     –    –        –\n"
        "\n"
        "2026-01-02, one server alone. A Processor, 2 cores, Linux 6.0, ext4, Python 3.11.0; load 0.50 before, "
        "up to 3.00, 1.25 after; a fixed loop in 10.0 ms before, 12.3 ms after.\n"
        "server: `run server`\n"
        "Not measured: P9 of server: it ended\n"
    )


def test_the_table_of_two_servers_has_their_ratio_and_what_it_reaches() -> None:
    run = run_of({"peer": [{"initialize_ms": [50.0]}] * 2, "ours": [{"initialize_ms": [25.0]}, {}]}, scale=0.1)
    line = "| P1 | spawn → initialize answered, warm | ms | 50 | 25 | 0.5 | 0.5..0.5 | ≤ 1.25 | ≤ 0.6 | aim |"
    shown = markdown(run).splitlines()
    assert [shown[0], shown[3], shown[-1]] == [BEGIN, line, END]
    assert "2 rounds in turn (A B, B A, …), scale 0.1: too few repetitions to be quoted." in shown[5]


def test_two_servers_without_the_peer_are_not_judged_by_its_limits() -> None:
    run = run_of({"A": [{"initialize_ms": [50.0]}], "B": [{"initialize_ms": [25.0]}]})
    line = "| P1 | spawn → initialize answered, warm | ms | 50 | 25 | 0.5 | 0.5..0.5 | – | – | – |"
    assert markdown(run).splitlines()[3] == line


def test_what_was_not_measured_is_a_dash_and_no_zero() -> None:
    assert "| P1 | spawn → initialize answered, warm | ms | – | – | – | 0 | – | – | – |" in markdown(
        run_of({"server": [{}]})
    )


def test_a_command_is_shown_without_the_folders_of_a_machine() -> None:
    assert shown_command("/opt/bin/python -m app_server --enable 'a b'") == "python -m app_server --enable 'a b'"


def test_figures_take_their_place_in_a_document_and_nothing_else_changes() -> None:
    run = run_of({"server": [{"initialize_ms": [50.0]}]})
    document = f"# Title\n\n{BEGIN}\nold\n{END}\n\nMore.\n"
    assert placed(document, markdown(run)) == f"# Title\n\n{markdown(run)}\n\nMore.\n"
    with pytest.raises(ValueError, match="no place for the figures"):
        placed("# Title\n", markdown(run))


def test_a_run_survives_its_file() -> None:
    run = run_of({"peer": [{"initialize_ms": [50.0]}], "ours": [{"initialize_ms": [25.5]}]}, failures=["x"])
    assert from_json(to_json(run)) == run


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no file of a benchmark run"):
        from_json(b"{}")


def test_a_stored_run_is_shown_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of({"server": [{"initialize_ms": [50.0]}]})
    file, document = tmp_path / "run.json", tmp_path / "page.md"
    file.write_bytes(to_json(run))
    document.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    assert main(["--read", str(file)]) == 0
    assert main(["--read", str(file), "--markdown", str(document)]) == 0
    assert capsys.readouterr().out == text(run) + "\n"
    assert document.read_text(encoding="utf-8") == markdown(run) + "\n"


def test_a_row_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rows", "P1,P99"])
    assert "there is no row P99; rows are P1, P2" in capsys.readouterr().err


def test_a_directive_survives_being_written_into_a_text() -> None:
    directive = Directive(deltas=20_000, size_chars=24, pace_us=1000, picture_bytes=7)
    assert parsed(f"go {written(directive)} now") == directive


@pytest.mark.parametrize(
    ("words", "directive"),
    [
        ("nothing", Directive()),
        ("[[deltas=3]]", Directive(deltas=3)),
        ("[[deltas=3]] and [[size_chars=9 colour=2]]", Directive(size_chars=9)),
        ("[[deltas=many]] [deltas=5]", Directive()),
    ],
)
def test_the_last_whole_directive_of_a_text_counts(words: str, directive: Directive) -> None:
    assert parsed(words) == directive


def test_a_request_is_answered_as_the_newest_words_of_the_user_say() -> None:
    old = {"role": "user", "content": [{"type": "input_text", "text": "[[deltas=1]]"}]}
    new = {"role": "user", "content": [{"type": "input_text", "text": "go [[deltas=5]]"}]}
    note = {"role": "user", "content": "the folder changed"}
    assert of_request([old, {"role": "assistant", "content": []}, new, note]) == Directive(deltas=5)
    assert of_request([new, {"type": "function_call_output", "output": "done"}]) == Directive()
    assert of_request([]) == Directive()


def test_deltas_have_the_wanted_size_and_say_when_they_were_written() -> None:
    texts: list[str] = []
    pieces = list(deltas("r1", Directive(deltas=3, size_chars=24), texts))
    assert [len(piece) for piece in texts] == [24, 24, 24]
    assert [int(piece[1 : piece.index(";")]) for piece in texts] == sorted(
        int(piece[1 : piece.index(";")]) for piece in texts
    )
    size, _, rest = pieces[0].partition(b"\r\n")
    data = orjson.loads(rest.split(b"data: ")[1].partition(b"\n")[0])
    assert int(size, 16) == len(rest) - 2
    assert data == {
        "type": "response.output_text.delta",
        "item_id": "msg_r1",
        "output_index": 0,
        "content_index": 0,
        "delta": texts[0],
    }


def test_a_picture_of_noise_is_a_real_one_of_the_wanted_size_that_does_not_shrink() -> None:
    picture = noise_png(300_000)
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
    assert abs(len(picture) - 300_000) < 4_000
    assert len(zlib.compress(picture)) > len(picture) * 0.99


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, b"\x00"), (125, b"\x7d"), (126, b"\x7e\x00\x7e"), (65_536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00")],
)
def test_a_frame_is_taken_when_it_is_whole_and_not_before(size: int, length: bytes) -> None:
    payload = b"x" * size
    data = bytearray(b"??\x81" + length + payload)
    assert frame_at(data, 2) == (0x81, payload, len(data))
    assert [frame_at(data[:-1], 2), frame_at(data[:3], 2)] == [None, None]


def test_the_machine_is_described_by_what_linux_tells() -> None:
    assert cpu_model(["processor : 0", "model name\t: A Processor @ 2 GHz"]) == "A Processor @ 2 GHz"
    mounts = ["/dev/a / ext4 rw 0 0", "tmpfs /tmp tmpfs rw 0 0", "/dev/b /tmpfiles xfs rw 0 0"]
    assert filesystem_of(Path("/tmp/x"), mounts) == "tmpfs"
    assert filesystem_of(Path("/var"), mounts) == "ext4"


def test_the_peer_lies_in_the_cache_of_the_user() -> None:
    folder = Path("imagegen-app-server/peer-0.169.0")
    assert cache_folder({"XDG_CACHE_HOME": "/caches"}) == "/caches" / folder
    assert cache_folder({}) == Path.home() / ".cache" / folder
