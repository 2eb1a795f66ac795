"""What the image tool needs from its host, as small doubles that record: HTTP, items, log, clock, provider access.

Pictures are not doubled: `image_host` wires the real PictureStore over storage in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class FakeHttp:
    """Answers each POST with the next of `answers`, the last one for ever; keeps what was sent."""

    def __init__(self, *answers: HttpAnswer | HttpFailure) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

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
        self.requests.append(
            {"url": url, "body": body, "headers": dict(headers), "params": dict(params), "timeout_s": timeout_s}
        )
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

    async def started(self, item: ExtensionItem) -> None:
        self.shown.append(("started", item))

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None:
        self.shown.append(("completed", item))
        self.pictures.append(picture)

    async def warning(self, message: str) -> None:
        self.warnings.append(message)


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

    def images_endpoint(self, scope: TurnScope) -> ImagesEndpoint:
        if self.missing is not None:
            raise MissingCredentials(self.missing)
        return self.endpoint

    def auth(self) -> AuthSnapshot:
        return AuthSnapshot()


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

    def call(self, arguments: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()) -> ToolCall:
        """One call of the tool, with these arguments and history."""
        return ToolCall(
            call_id=CALL_ID,
            name=ToolName("image_gen", "imagegen"),
            arguments=orjson.dumps(arguments).decode(),
            scope=image_scope(self.home),
            history=history,
            items=self.items,
        )


def image_host(
    home: Path,
    *answers: HttpAnswer | HttpFailure,
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
        **changes,
    }


def part(ref: PictureRef) -> dict[str, Any]:
    """A picture in the history."""
    return {"type": "input_image", "picture": ref.to_json(), "detail": "high"}


def message(*refs: PictureRef) -> dict[str, Any]:
    """A user message with pictures."""
    return {"type": "message", "role": "user", "content": [part(ref) for ref in refs]}


async def refused(host: ImageHost, arguments: Mapping[str, Any], history: Sequence[Mapping[str, Any]] = ()) -> str:
    """The text for the model of a call that must fail."""
    with pytest.raises(ToolFailure) as failure:
        await host.tool.handle(host.call(arguments, history))
    return failure.value.message
