"""docs/protocol.md cannot rot: its frames are played against the server, with the offline provider, over memory.

What `→` says is sent; each `←` has to be among what the server says then, in this order. In the guide's strings `…`
stands for anything, `01a2…cb67` for an id, which is the same everywhere; members that it leaves out may be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.bootstrap import App, Options
from app_server.protocol.tables import NOTIFICATIONS
from app_server.rpc.session import OPT_IN_NOTIFICATIONS
from app_server.transport.base import MessageStream
from app_server.transport.memory import memory_pair
from tests.support.schema import frame_errors

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
ID = re.compile(r"[0-9a-f]{4}…[0-9a-f]{4}")
VARYING = re.compile(r".*Ms$|bytes$|totalBytes$")
"""Numbers that differ from run to run, or from one encoder to the next."""
REPLY_S = 10.0
Frame = dict[str, Any]


def blocks(info: str) -> list[str]:
    """The fenced blocks of the guide whose opening line says this."""
    return re.findall(rf"^```text {info}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def frames(block: str) -> list[tuple[bool, Frame]]:
    """Whether the client sends it, and the frame."""
    return [(line.startswith("→ "), json.loads(line[2:])) for line in block.splitlines()]


@dataclass
class Reader:
    """What the shortened ids of the guide are in this run."""

    ids: dict[str, str] = field(default_factory=dict)

    def filled(self, told: Any) -> Any:
        """A frame of the guide as it can be sent."""
        if isinstance(told, dict):
            return {name: self.filled(value) for name, value in told.items()}
        if isinstance(told, list):
            return [self.filled(value) for value in told]
        return ID.sub(lambda found: self.ids[found[0]], told) if isinstance(told, str) else told

    def differs(self, told: Any, real: Any, place: str) -> str | None:
        """The first place in which a real value is not what the guide tells; None when it is."""
        if isinstance(told, dict) and isinstance(real, dict):
            pairs = [(value, real.get(name, "(absent)"), f"{place}.{name}") for name, value in told.items()]
        elif isinstance(told, list) and isinstance(real, list) and len(told) == len(real):
            pairs = [(one, other, f"{place}[{at}]") for at, (one, other) in enumerate(zip(told, real, strict=True))]
        elif isinstance(told, str) and isinstance(real, str):
            return None if self._learned(told, real) else f"{place}: {told!r} is {real[:80]!r}"
        else:
            same = type(told) is type(real) and (told == real or VARYING.match(place.rpartition(".")[2]))
            return None if same else f"{place}: {told!r} is {str(real)[:80]!r}"
        return next((fault for pair in pairs if (fault := self.differs(*pair))), None)

    def _learned(self, told: str, real: str) -> bool:
        """Whether the string fits; ids that stand in it for the first time are kept."""
        pattern, new = "", []
        for piece in re.split(f"({ID.pattern})", told):
            if not ID.fullmatch(piece):
                pattern += re.escape(piece).replace("…", ".*")
            elif piece in self.ids:
                pattern += re.escape(self.ids[piece])
            else:
                pattern += "([0-9a-f-]{36,64})"
                new.append(piece)
        found = re.fullmatch(pattern, real, re.DOTALL)
        if found is not None:
            self.ids |= dict(zip(new, found.groups(), strict=True))
        return found is not None


async def expect(stream: MessageStream, told: Frame, reader: Reader, asked: Mapping[Any, str]) -> None:
    """Read on until the server says what the guide tells."""
    faults: list[str] = []
    with anyio.move_on_after(REPLY_S):
        while True:
            real = json.loads(await stream.receive())
            assert frame_errors(real, None if "method" in real else asked.get(real["id"])) == []
            if (real.get("method"), real.get("id")) == (told.get("method"), told.get("id")):
                fault = reader.differs(told, real, "frame")
                if fault is None:
                    return
                faults.append(fault)
    raise AssertionError(f"the server does not say {json.dumps(told, ensure_ascii=False)}; it differs in {faults}")


@pytest.mark.anyio
async def test_the_frames_of_the_guide_are_what_the_server_says(tmp_path: Path) -> None:
    options = Options(home=tmp_path, cwd=tmp_path, env={}, overrides=["model_provider=offline"], enable=["imagegenext"])
    reader, asked = Reader(), dict[Any, str]()
    stream: MessageStream | None = None
    async with App(options).running() as app, anyio.create_task_group() as tasks:
        for is_ours, told in (frame for block in blocks("frames") for frame in frames(block)):
            if told.get("method") == "initialize":  # a connection of its own
                if stream is not None:
                    await stream.aclose()
                stream, theirs = memory_pair()
                tasks.start_soon(app.serve, theirs)
            assert stream is not None
            if is_ours:
                asked[told.get("id")] = told["method"]
                await stream.send([json.dumps(reader.filled(told)).encode()])
            else:
                await expect(stream, told, reader, asked)
        assert stream is not None
        await stream.aclose()


def test_the_first_picture_takes_ten_frames() -> None:
    told = frames(blocks("frames")[0])
    methods = [frame.get("method", "") for _, frame in told]
    assert (len(told), methods[0], methods[-1]) == (10, "initialize", "turn/completed")


def test_the_guide_lists_every_notification() -> None:
    (listed,) = blocks("notifications")
    assert sorted(listed.split()) == sorted({*NOTIFICATIONS, *OPT_IN_NOTIFICATIONS})


@pytest.mark.parametrize(
    ("told", "real", "fault"),
    [
        ({"a": "01a2…cb67"}, {"a": "01b3c4d5-0000-7000-8000-00000000abcd", "b": 1}, None),
        ({"a": {"status": "completed"}}, {"a": {"status": "failed"}}, "frame.a.status: 'completed' is 'failed'"),
        ({"a": 1}, {}, "frame.a: 1 is '(absent)'"),
        ({"code": -32600}, {"code": -32603}, "frame.code: -32600 is '-32603'"),
        ({"elapsedMs": 5}, {"elapsedMs": 7}, None),
        ({"items": []}, {"items": [{}]}, "frame.items: [] is '[{}]'"),
    ],
)
def test_a_frame_that_is_told_wrongly_is_found(told: Any, real: Any, fault: str | None) -> None:
    assert Reader().differs(told, real, "frame") == fault


def test_an_id_is_the_same_wherever_it_stands() -> None:
    reader, (one, other) = Reader(), (f"{n}1b3c4d5-0000-7000-8000-00000000abcd" for n in "01")
    assert reader.differs({"id": "01a2…cb67"}, {"id": one}, "frame") is None
    assert reader.differs({"path": "…/01a2…cb67/x"}, {"path": f"/h/{one}/x"}, "frame") is None
    assert reader.differs({"id": "01a2…cb67"}, {"id": other}, "frame") == f"frame.id: '01a2…cb67' is {other!r}"
