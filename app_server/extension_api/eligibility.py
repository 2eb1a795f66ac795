"""Who may have pictures at all: the gates that the hosted and the standalone tool share, in one order, with reasons.

Provider data ∧ auth ∧ model, under the kill switch; asked anew for every request, so a login counts at once.

| # | gate | opened by |
|---|---|---|
| 1 | feature `image_generation` | the kill switch above everything |
| 2 | provider can | its row, `requires_openai_auth = true`, or `image_generation = true` in its table |
| 3 | login | ChatGPT (not the Free plan); an API key where pictures work with one; none where none is needed |
| 4 | model takes images | the catalogue; an unknown model counts as taking them |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_server.extension_api.tools import Exposure, Hidden, Visible

if TYPE_CHECKING:
    from app_server.extension_api.scopes import AuthSnapshot, ProviderFacts, TurnScope


def picture_eligibility(scope: TurnScope, *, standalone: bool = False) -> Exposure:
    """The first gate that says no, with what would open it; Visible when all are open.

    standalone: ask the provider that makes the pictures, which may be another one than the turn's."""
    feature = scope.features.states.get("image_generation")
    if feature is None or not feature.enabled:
        why = feature.reason if feature is not None else "unknown to this server"
        return Hidden(f"the feature image_generation is {why}; enable it in [features]")
    elsewhere = standalone and scope.picture_provider is not None
    provider = scope.picture_provider if elsewhere and scope.picture_provider else scope.provider
    auth = scope.picture_auth if elsewhere and scope.picture_auth else scope.auth
    if not provider.image_generation:
        return Hidden(
            f"the provider {provider.id} does not generate pictures; set image_generation = true in "
            f"[model_providers.{provider.id}] if it does"
        )
    if (refusal := _login_refusal(provider, auth)) is not None:
        return Hidden(refusal)
    if not scope.model.accepts_images:
        return Hidden(f"the model {scope.model.slug} takes no images; choose one that does")
    return Visible()


def _login_refusal(provider: ProviderFacts, auth: AuthSnapshot) -> str | None:
    if not provider.requires_openai_auth:
        return None
    if auth.is_chatgpt:
        return (
            "the ChatGPT Free plan has no image generation; use a paid plan or an API key"
            if auth.plan == "free"
            else None
        )
    if auth.mode == "none":
        return "nobody is logged in; log in, or set OPENAI_API_KEY"
    if not provider.api_key_pictures:
        return f"the provider {provider.id} generates pictures for ChatGPT logins only; log in with ChatGPT"
    return None
