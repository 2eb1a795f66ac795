"""The models of a ChatGPT login: what of an answer counts, for how long, and how it joins the built-in catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from app_server.config.schema import Config, ProviderConfig
from app_server.extension_api.scopes import ModelFacts
from app_server.providers.base import Credentials
from app_server.providers.catalog import EffortOption, ModelEntry, list_models, model_facts
from app_server.providers.fetched_catalog import KEPT_S, RETRY_S, FetchedModels, merged, read_models
from app_server.providers.registry import ProviderRegistry, ProviderWiring
from app_server.version import PROTOCOL_VERSION

pytestmark = pytest.mark.anyio
ROW = {
    "slug": "gpt-new",
    "display_name": "GPT New",
    "description": "Fresh.",
    "default_reasoning_level": "ultra",
    "supported_reasoning_levels": [
        {"effort": "low", "description": "Quick"},
        {"effort": "ultra", "description": "Unknown to older clients"},
    ],
    "visibility": "list",
    "priority": 1,
    "context_window": 400_000,
    "input_modalities": ["text", "image", "smell"],
}
ENTRY = ModelEntry(
    slug="gpt-new",
    display_name="GPT New",
    description="Fresh.",
    default_effort="low",
    efforts=(EffortOption(effort="low", description="Quick"),),
    context_window_tokens=400_000,
)


class FakeClock:
    def __init__(self) -> None:
        self.s = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.s


class FakeLogin:
    """A ChatGPT login of the provider `mine`."""

    def headers(self) -> Mapping[str, str]:
        return {"authorization": "Bearer token-1", "chatgpt-account-id": "account-1"}

    def tokens(self, provider: ProviderConfig | None = None) -> object | None:
        return self if provider is not None and provider.id == "mine" else None


class Backend:
    """Answers GET /models and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests, self.clock = list(answers), list[httpx.Request](), FakeClock()
        tables = {name: ProviderConfig(id=name, base_url="http://backend/v1") for name in ("mine", "other")}
        client, login = httpx.AsyncClient(transport=httpx.MockTransport(self.answer)), FakeLogin()

        def credentials(table: ProviderConfig) -> Credentials:
            return login

        wiring = ProviderWiring(
            client=lambda: client, credentials=credentials, chatgpt_login=lambda: True, env={}, clock=self.clock
        )
        providers = ProviderRegistry(Config(model_providers=tables), wiring)
        self.models = FetchedModels(providers, login, lambda: client, self.clock)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_catalogue_of_the_login_is_asked_and_kept_for_a_while() -> None:
    backend = Backend(httpx.Response(200, json={"models": [ROW]}), httpx.Response(200, json={"models": []}))

    assert await backend.models.entries("mine") == (ENTRY,)
    backend.clock.s = KEPT_S - 1
    assert await backend.models.entries("mine") == (ENTRY,)
    backend.clock.s = KEPT_S
    assert await backend.models.entries("mine") == ()

    first = backend.requests[0]
    assert str(first.url) == f"http://backend/v1/models?client_version={PROTOCOL_VERSION}"
    assert (first.headers["authorization"], first.headers["chatgpt-account-id"]) == ("Bearer token-1", "account-1")


@pytest.mark.parametrize(
    ("answer", "kept_s"),
    [
        (httpx.Response(404), KEPT_S),
        (httpx.Response(500), RETRY_S),
        (httpx.Response(200, text="no json"), RETRY_S),
        (httpx.Response(200, json={"data": []}), RETRY_S),
        (httpx.ConnectError("refused"), RETRY_S),
    ],
)
async def test_without_an_answer_that_counts_there_are_no_rows_and_it_is_not_asked_at_once_again(
    answer: httpx.Response | Exception, kept_s: float
) -> None:
    backend = Backend(answer, httpx.Response(200, json={"models": [ROW]}))

    assert await backend.models.entries("mine") == ()
    backend.clock.s = kept_s - 1
    assert await backend.models.entries("mine") == ()
    backend.clock.s = kept_s
    assert await backend.models.entries("mine") == (ENTRY,)


async def test_what_was_told_of_a_model_counts_for_turns_even_when_it_is_not_told_again() -> None:
    bare = {"slug": "gpt-5.5", "input_modalities": ["text"]}
    backend = Backend(httpx.Response(200, json={"models": [ROW, bare]}), httpx.Response(500))
    before = backend.models.facts("mine", "gpt-new")
    await backend.models.entries("mine")
    backend.clock.s = KEPT_S
    await backend.models.entries("mine")

    assert before == ModelFacts(slug="gpt-new", known=False)
    assert backend.models.facts("mine", "gpt-new") == ModelFacts(
        slug="gpt-new", context_window_tokens=400_000, default_effort="low"
    )
    assert backend.models.facts("mine", "gpt-5.5") == replace(model_facts("gpt-5.5"), accepts_images=False)
    assert backend.models.facts("other", "gpt-new") == ModelFacts(slug="gpt-new", known=False)


@pytest.mark.parametrize("provider", ["other", "nobody", "offline"])
async def test_a_provider_that_is_not_signed_with_the_login_is_not_asked(provider: str) -> None:
    backend = Backend()

    assert (await backend.models.entries(provider), backend.requests) == ((), [])


def test_rows_come_by_priority_and_broken_ones_are_left_out() -> None:
    rows: list[Any] = [
        {"slug": "b", "visibility": "hide"},
        {"slug": "a", "priority": 1, "supported_reasoning_levels": "none", "context_window": "big"},
        {"name": "no slug"},
        5,
    ]
    found = read_models(httpx.Response(200, json={"models": rows}).content)

    assert found is not None
    assert [(entry.slug, entry.hidden, entry.default_effort, entry.context_window_tokens) for entry in found] == [
        ("a", False, "none", None),
        ("b", True, "none", None),
    ]


def test_fetched_rows_go_before_the_built_in_ones_and_replace_those_of_their_name() -> None:
    builtin = list_models(True)
    renamed = ModelEntry(
        slug="gpt-6.1-sol", display_name="Renamed", description="", default_effort="low", efforts=(), hidden=False
    )

    rows = merged((ENTRY, renamed), builtin)

    assert [entry.slug for entry in rows[:2]] == ["gpt-new", "gpt-6.1-sol"]
    assert [entry.slug for entry in rows if entry.is_default] == ["gpt-6.1-sol"]
    assert len(rows) == len(builtin) + 1
    assert merged((), builtin) == builtin
