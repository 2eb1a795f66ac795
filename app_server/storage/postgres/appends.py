"""Appends of many threads as one statement, one commit and one round trip. Pure: what is asked and what it says.

    wanted   each lease that appends, and how many records
    fenced   the rows of `leases` that still have that owner and epoch: last_seq goes up, which numbers the records
    …        records, index rows and pictures of those that passed; of the others nothing
    said     the hints of the round, in order; those of appends get their seq here
    done     the round's number and outcome in the writer's own row

A lease that fails the fence fails alone. Called by `rounds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any, Final

from app_server.storage.base import Lease
from app_server.storage.postgres.hints import CHANNEL, head, parts, records_line
from app_server.storage.postgres.pictures import PICTURE_COLUMNS, Change
from app_server.storage.postgres.rows import ROW_COLUMNS
from app_server.values import frozen

Encoded = tuple[str, int, bytes]
"""kind, at_ms, data"""

FENCED_OFF: Final = -2
NO_THREAD: Final = -1
"""In place of a lease's last seq."""
_SEQ_BYTES: Final = 20


@frozen
class Append:
    """Records of one call, ready to be sent."""

    lease: Lease
    records: tuple[Encoded, ...]
    row: tuple[Any, ...] | None
    pictures: tuple[Change, ...]
    size_bytes: int


class _Group:
    """The appends of one lease in one statement: numbered together, kept or refused together."""

    def __init__(self, number: int, lease: Lease) -> None:
        self.number = number
        self.lease = lease
        self.records: list[Encoded] = []
        self.row: tuple[Any, ...] | None = None
        self.pictures: dict[int, tuple[tuple[Any, ...], tuple[str | None, str | None]]] = {}
        self.removed: list[tuple[str | None, str | None]] = []

    @property
    def wanted(self) -> tuple[str, str, str, int, int]:
        """What its row in the table `wanted` says."""
        lease = self.lease
        return lease.tenant, lease.thread_id, lease.owner, lease.epoch, len(self.records)

    def add(self, append: Append) -> int:
        """Take them in; returns how many records the group has up to their end."""
        before = len(self.records)
        self.records += append.records
        self.row = append.row or self.row
        for place, values, item in append.pictures:
            if values is not None:
                self.pictures[before + place] = values, item
                continue
            self.removed.append(item)
            self.pictures = {at: made for at, made in self.pictures.items() if made[1] != item}
        return len(self.records)


class AppendStep:
    """What one statement appends, with the hints that are told between."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str, int], _Group] = {}
        self._ends: list[tuple[_Group, int]] = []
        self._lines: list[tuple[str, _Group | None, int]] = []

    def add(self, append: Append) -> None:
        """One append more; its outcome stands in the same place of `outcomes`."""
        lease = append.lease
        key = (lease.tenant, lease.thread_id, lease.owner, lease.epoch)
        group = self._groups.setdefault(key, _Group(len(self._groups) + 1, lease))
        end = group.add(append)
        self._ends.append((group, end))
        if append.records:
            if self._lines and self._lines[-1][1] is group:
                self._lines.pop()  # nothing was told between: one hint says both
            self._lines.append((records_line(lease.tenant, lease.thread_id), group, end))

    def tell(self, line: str) -> None:
        """A hint behind what was added before it."""
        self._lines.append((line, None, 0))

    @property
    def has_appends(self) -> bool:
        return bool(self._groups)

    def outcomes(self, last_seqs: Sequence[int]) -> list[int]:
        """For each append its own last seq, or why there is none, from the answer of the statement."""
        found: list[int] = []
        for group, end in self._ends:
            last = last_seqs[group.number - 1]
            found.append(last if last < 0 else last - len(group.records) + end)
        return found

    def lines(self, last_seqs: Sequence[int]) -> Iterator[str]:
        """The hints, where the statement did not tell them itself."""
        for line, group, end in self._lines:
            if group is None:
                yield line
            elif (last := last_seqs[group.number - 1]) >= 0:
                yield f"{line}{last - len(group.records) + end}]"

    def statement(self, ttl_s: float, alone: tuple[str, int, int] | None = None) -> tuple[str, list[Any]]:
        """The statement and its values; it answers with the JSON of the groups' last seqs.

        alone: replica, session and number of a round that is nothing else, so the statement is its own transaction.
        It answers nothing when the session is over.
        """
        groups = list(self._groups.values())
        rows = [(group.number, *group.row) for group in groups if group.row is not None]
        changes = any(group.pictures or group.removed for group in groups)
        values = [
            *_columns((g.wanted for g in groups), 5),
            *_columns(((g.number, at, *record) for g in groups for at, record in enumerate(g.records, 1)), 5),
            ttl_s,
        ]  # fmt: skip
        if rows:
            values += _columns(rows, 1 + len(ROW_COLUMNS))
        if changes:
            made = ((g.number, at, *values) for g in groups for at, (values, _) in g.pictures.items())
            values += _columns(made, 2 + len(PICTURE_COLUMNS))
            values += _columns(((g.number, *item) for g in groups for item in g.removed), 3)
        if alone is not None:
            replica, session, number = alone
            values += _columns(self._placed_lines(), 4)
            values += [replica, session, number, head(replica, number)]
        return append_statement(bool(rows), changes, alone is not None), values

    def _placed_lines(self) -> Iterator[tuple[int, str, int, int]]:
        """part, text, group, how many of its records: 0 is no group."""
        placed = parts([len(line.encode()) + (_SEQ_BYTES if group else 0) for line, group, _ in self._lines])
        for part, (line, group, end) in zip(placed, self._lines, strict=True):
            yield part, line, group.number if group else 0, end - len(group.records) if group else 0


def _columns(rows: Any, width: int) -> list[list[Any]]:
    """Rows as one array for each column."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


@cache
def append_statement(rows: bool, pictures: bool, alone: bool) -> str:
    """The text for what a round has; a connection prepares each once."""
    numbers = count(1)

    def arrays(*types: str) -> str:
        return ", ".join(f"${next(numbers)}::{one}[]" for one in types)

    def value(type_: str) -> str:
        return f"${next(numbers)}::{type_}"

    tables = [
        f"wanted AS (SELECT * FROM unnest({arrays('text', 'text', 'text', 'bigint', 'bigint')}) "
        "WITH ORDINALITY AS w (tenant, thread_id, owner, epoch, records, n))"
    ]
    given_records = arrays("bigint", "bigint", "text", "bigint", "bytea")
    tables.append(_fenced(value("float8"), alone))
    tables.append(
        "written AS (INSERT INTO records (tenant, thread_id, seq, kind, at_ms, data) "
        "SELECT f.tenant, f.thread_id, f.before + r.place, r.kind, r.at_ms, r.data "
        f"FROM unnest({given_records}) AS r (n, place, kind, at_ms, data) JOIN passed AS f USING (n))"
    )
    if rows:
        names = [name for name, _ in ROW_COLUMNS]
        tables.append(
            f"indexed AS (UPDATE threads AS t SET {', '.join(f'{name} = i.{name}' for name in names)} "
            f"FROM unnest({arrays('bigint', *(type_ for _, type_ in ROW_COLUMNS))}) AS i (n, {', '.join(names)}) "
            "JOIN passed AS f USING (n) WHERE t.tenant = f.tenant AND t.thread_id = f.thread_id)"
        )
    if pictures:
        names = [name for name, _ in PICTURE_COLUMNS]
        tables.append(
            f"pictured AS (INSERT INTO pictures (tenant, thread_id, seq, {', '.join(names)}) "
            f"SELECT f.tenant, f.thread_id, f.before + p.place, {', '.join(f'p.{name}' for name in names)} "
            f"FROM unnest({arrays('bigint', 'bigint', *(type_ for _, type_ in PICTURE_COLUMNS))}) "
            f"AS p (n, place, {', '.join(names)}) JOIN passed AS f USING (n))"
        )
        tables.append(
            f"removed AS (DELETE FROM pictures AS p USING unnest({arrays('bigint', 'text', 'text')}) "
            "AS r (n, turn_id, item_id) JOIN passed AS f USING (n) WHERE p.tenant = f.tenant "
            "AND p.thread_id = f.thread_id AND p.turn_id = r.turn_id AND p.item_id = r.item_id)"
        )
    last_seqs = (
        f"(SELECT coalesce(json_agg(CASE WHEN f.n IS NULL THEN {FENCED_OFF} ELSE coalesce(f.last_seq, {NO_THREAD}) END "
        "ORDER BY w.n), '[]')::text FROM wanted AS w LEFT JOIN fenced AS f USING (n))"
    )
    if not alone:
        return f"WITH {', '.join(tables)} SELECT {last_seqs} AS outcome"
    lines = arrays("bigint", "text", "bigint", "bigint")
    replica, session, number, first = value("text"), value("bigint"), value("bigint"), value("text")
    gate = f"gate AS MATERIALIZED (SELECT FROM writers WHERE replica = {replica} AND session = {session} FOR UPDATE)"
    tables = [gate, *tables, _said(lines), _done(last_seqs, replica, session, number)]
    return (
        f"WITH {', '.join(tables)} SELECT done.outcome FROM done LEFT JOIN ("
        f"SELECT pg_notify('{CHANNEL}', {first} || part || E'\\n' || lines)::text "
        "FROM (SELECT * FROM said ORDER BY part) AS ordered) AS told ON true"
    )


def _fenced(ttl_s: str, gated: bool) -> str:
    """An append also renews its lease: the row is written anyway."""
    return (
        f"fenced AS (UPDATE leases AS l SET last_seq = l.last_seq + w.records, "
        f"expires = clock_timestamp() + make_interval(secs => {ttl_s}) FROM wanted AS w{', gate' if gated else ''} "
        "WHERE l.tenant = w.tenant AND l.thread_id = w.thread_id AND l.owner = w.owner AND l.epoch = w.epoch "
        "RETURNING w.n, w.tenant, w.thread_id, l.last_seq, l.last_seq - w.records AS before), "
        "passed AS (SELECT * FROM fenced WHERE last_seq IS NOT NULL)"
    )


def _said(lines: str) -> str:
    return (
        "said AS (SELECT h.part, string_agg(h.line || coalesce((f.last_seq + h.more) || ']', ''), E'\\n' "
        f"ORDER BY h.place) AS lines FROM unnest({lines}) WITH ORDINALITY AS h (part, line, n, more, place) "
        "LEFT JOIN passed AS f ON f.n = h.n WHERE h.n = 0 OR f.n IS NOT NULL GROUP BY h.part)"
    )


def _done(last_seqs: str, replica: str, session: str, number: str) -> str:
    return (
        f"done AS (UPDATE writers SET round = {number}, outcome = convert_to({last_seqs}, 'UTF8'), "
        f"seen_at = clock_timestamp() WHERE replica = {replica} AND session = {session} RETURNING outcome)"
    )
