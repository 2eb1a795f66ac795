"""What the image tool needs from its host, as small doubles that record: HTTP, items, log, clock, provider access.

Pictures are not doubled: `image_host` wires the real PictureStore over storage in memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.errors import MissingCredentials
from app_server.extension_api import (
    AuthSnapshot,
    CheckedPicture,
    ExtensionItem,
    ExtensionServices,
    Form,
    HttpAnswer,
    HttpFailure,
    ImagesEndpoint,
    ImageSettings,
    ModelFacts,
    PictureRef,
    Pictures,
    ProviderFacts,
    ToolCall,
    ToolFailure,
    ToolName,
    TurnScope,
)
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from extensions.image_generation.tool import ImageGenerationTool
from features import FEATURES, FeatureLayer, resolve_features
from tests.support.pictures import as_base64, png

NOW_MS = 1_700_000_000_000
THREAD_ID, TURN_ID, CALL_ID = "thread-1", "turn-1", "call_1"


class FakeClock:
    """Stands still."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return 100.0


Streamed = tuple[list[bytes], HttpAnswer]
"""Payloads of events, and the answer that carries them."""


class FakeHttp:
    """Answers each POST with the next of `answers`, the last one for ever; keeps what was sent.

    A stream is answered to a request for events alone. `files` are what links lead to."""

    def __init__(self, *answers: HttpAnswer | HttpFailure | Streamed) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.files: dict[str, HttpAnswer | HttpFailure] = {}
        self.fetched: list[tuple[str, str | None]] = []

    async def post_json(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        answer = self._next(url, body, headers, params, timeout_s)
        assert isinstance(answer, HttpAnswer)
        return answer

    async def post_multipart(
        self,
        url: str,
        form: Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        answer = self._next(url, form, headers, params, timeout_s)
        assert isinstance(answer, HttpAnswer)
        return answer

    async def post_events(
        self,
        url: str,
        body: Mapping[str, Any] | Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
        on_event: Callable[[bytes], Awaitable[bool]],
    ) -> HttpAnswer:
        answer = self._next(url, body, headers, params, timeout_s)
        if isinstance(answer, HttpAnswer):
            return answer
        payloads, whole = answer
        for payload in payloads:
            if not await on_event(payload):
                break
        return whole

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float, allowed_host: str | None = None) -> HttpAnswer:
        self.fetched.append((url, allowed_host))
        found = self.files[url]
        if isinstance(found, HttpFailure):
            raise found
        return found

    def _next(
        self, url: str, body: Any, headers: Mapping[str, str], params: Mapping[str, str], timeout_s: float
    ) -> HttpAnswer | Streamed:
        sent = {"url": url, "body": body, "headers": dict(headers), "params": dict(params), "timeout_s": timeout_s}
        self.requests.append(sent)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HttpFailure):
            raise answer
        return answer


class FakeItems:
    """Keeps what was shown, in order."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, ExtensionItem]] = []
        self.pictures: list[PictureRef | None] = []
        self.warnings: list[str] = []
        self.paid: list[tuple[str, str]] = []
        self.told: list[Mapping[str, str]] = []
        self.beats: list[tuple[str, int | None, str | None]] = []

    async def started(self, item: ExtensionItem) -> None:
        self.shown.append(("started", item))

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None:
        self.shown.append(("completed", item))
        self.pictures.append(picture)

    async def warning(self, message: str) -> None:
        self.warnings.append(message)

    def rate_limits(self, headers: Mapping[str, str]) -> None:
        self.told.append(headers)

    async def paid_call(self, item_id: str, idempotency_key: str) -> None:
        self.paid.append((item_id, idempotency_key))

    def progress(
        self, item_id: str, *, elapsed_ms: int, partial_index: int | None = None, preview: str | None = None
    ) -> None:
        self.beats.append((item_id, partial_index, preview))


class FakeLog:
    """Keeps events with their level and fields."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.events.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.events.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.events.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.events.append(("error", event, fields))


@dataclass
class FakeProviderAccess:
    """One endpoint, or the error of a missing login."""

    endpoint: ImagesEndpoint
    missing: str | None = None
    fresh: ImagesEndpoint | None = None
    """The endpoint once the login was refreshed; None: there is nothing to refresh."""
    refreshed: int = 0

    def images_endpoint(self, scope: TurnScope) -> ImagesEndpoint:
        if self.missing is not None:
            raise MissingCredentials(self.missing)
        return self.endpoint

    def auth(self) -> AuthSnapshot:
        return AuthSnapshot()

    async def refresh_login(self, scope: TurnScope) -> bool:
        self.refreshed += 1
        if self.fresh is None:
            return False
        self.endpoint = self.fresh
        return True


ENDPOINT = ImagesEndpoint(
    base_url="http://images.test/v1",
    headers={"authorization": "Bearer secret-token", "originator": "tests"},
    query={},
    offline=False,
    chatgpt=True,
    request_max_retries=0,
)


def image_scope(cwd: Path = Path("/"), **changes: Any) -> TurnScope:
    """A turn in which the tool is offered: both flags on, ChatGPT Plus, a provider that wants that login."""
    scope = TurnScope(
        thread_id=THREAD_ID,
        turn_id=TURN_ID,
        cwd=cwd,
        originator="tests",
        features=resolve_features(FEATURES, [FeatureLayer(origin="test", values={"imagegenext": True})]),
        auth=AuthSnapshot(mode="chatgpt", plan="plus"),
        provider=ProviderFacts(
            id="acme", requires_openai_auth=True, image_generation=True, namespace_tools=True, api_key_pictures=False
        ),
        model=ModelFacts(slug="some-model"),
    )
    return replace(scope, **changes)


def picture_answer(data: bytes | None = None, *, status: int = 200, **members: Any) -> HttpAnswer:
    """An answer of the images API with one picture; `members` join the picture's own (`background` joins the top)."""
    top = {"created": 1, "background": members.pop("background", "opaque")}
    body = {**top, "data": [{"b64_json": as_base64(png() if data is None else data), **members}]}
    return HttpAnswer(status=status, headers={"X-Request-Id": "req-1"}, body=orjson.dumps(body))


def error_answer(status: int, body: Any = None, **headers: str) -> HttpAnswer:
    """A refusal; header names are written with `_` for `-`."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpAnswer(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=raw
    )


@dataclass
class ImageHost:
    """A tool with everything around it."""

    tool: ImageGenerationTool
    services: ExtensionServices
    http: FakeHttp
    provider: FakeProviderAccess
    pictures: Pictures
    home: Path
    items: FakeItems = field(default_factory=FakeItems)
    log: FakeLog = field(default_factory=FakeLog)

    handles: int = 0

    def next_handle(self) -> str:
        """img_1, img_2 …"""
        self.handles += 1
        return f"img_{self.handles}"

    def call(self, arguments: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()) -> ToolCall:
        """One call of the tool, with these arguments and history."""
        return ToolCall(
            call_id=CALL_ID,
            name=ToolName("image_gen", "imagegen"),
            arguments=orjson.dumps(arguments).decode(),
            scope=image_scope(self.home),
            history=history,
            items=self.items,
            next_handle=self.next_handle,
        )


def image_host(
    home: Path,
    *answers: HttpAnswer | HttpFailure | Streamed,
    endpoint: ImagesEndpoint = ENDPOINT,
    settings: ImageSettings | None = None,
    http: FakeHttp | None = None,
    pictures: Pictures | None = None,
) -> ImageHost:
    """The tool over a scripted images API; pictures are saved under `home`."""
    used = http or FakeHttp(*(answers or (picture_answer(),)))
    provider, log = FakeProviderAccess(endpoint), FakeLog()
    store = pictures or PictureStore(home, MemoryStorageWorld(home=home).process().blobs)
    services = ExtensionServices(
        pictures=store,
        provider=provider,
        http=used,
        clock=FakeClock(),
        log=log,
        images=settings or ImageSettings(),
    )
    return ImageHost(
        tool=ImageGenerationTool(services),
        services=services,
        http=used,
        provider=provider,
        pictures=store,
        home=home,
        log=log,
    )


STARTED = {
    "type": "imageGeneration",
    "id": CALL_ID,
    "status": "in_progress",
    "revisedPrompt": None,
    "result": "",
    "transparentBackground": None,
    "failure": None,
    "generationId": None,
    "startedAtMs": NOW_MS,
    "completedAtMs": None,
    "prompt": "a fox",
    "model": "gpt-image-2",
}


def checked(data: bytes) -> CheckedPicture:
    """The picture in these bytes."""
    return check_picture(data, PictureLimits())


def shown(host: ImageHost) -> list[tuple[str, dict[str, Any]]]:
    """What clients saw: events, and items as they stand on the wire."""
    return [(event, item.wire()) for event, item in host.items.shown]


def completed(path: Path | None, data: bytes, **changes: Any) -> dict[str, Any]:
    """The completed item of a picture of 8x8, saved at `path`."""
    picture = checked(data)
    return {
        **STARTED,
        "status": "completed",
        "completedAtMs": NOW_MS,
        "revisedPrompt": "a fox",
        "transparentBackground": False,
        **({} if path is None else {"savedPath": str(path)}),
        "mimeType": picture.ref.mime,
        "bytes": len(data),
        "width": 8,
        "height": 8,
        "hasAlpha": picture.has_alpha,
        "sha256": picture.ref.sha256,
        "handle": "img_1",
        "effectiveParameters": {
            "size": "auto",
            "quality": "auto",
            "background": "opaque",
            "outputFormat": picture.ref.mime.removeprefix("image/"),
        },
        **changes,
    }


def part(ref: PictureRef, handle: str | None = None) -> dict[str, Any]:
    """A picture in the history."""
    named = {} if handle is None else {"handle": handle}
    return {"type": "input_image", "picture": ref.to_json(), "detail": "high", **named}


def message(*refs: PictureRef) -> dict[str, Any]:
    """A user message with pictures."""
    return {"type": "message", "role": "user", "content": [part(ref) for ref in refs]}


async def refused(host: ImageHost, arguments: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()) -> str:
    """The text for the model of a call that must fail."""
    with pytest.raises(ToolFailure) as failure:
        await host.tool.handle(host.call(arguments, history))
    return failure.value.message
