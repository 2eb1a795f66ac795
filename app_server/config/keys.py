"""KEYS: every setting this server acts on, one row each. A table.

`*` in a key stands for a name that the user chooses. Tests compare `config.example.toml` with this table, and its
defaults with those of the dataclasses in `schema.py`.
"""

from __future__ import annotations

from types import MappingProxyType

from app_server.config.key_spec import KeySpec as KeySpec
from app_server.config.key_spec import Kind as Kind
from app_server.config.schema import NO_STRINGS
from features.registry import FEATURES

_TOP = (
    KeySpec(
        key="model",
        kind=Kind.TEXT,
        example="gpt-5.5",
        doc="Model that a thread uses unless it names one; unset: the provider's own default.",
    ),
    KeySpec(
        key="model_provider",
        kind=Kind.TEXT,
        default="openai",
        doc='Provider of the model: "openai", "offline" (a stand-in, not AI) or one of [model_providers].',
    ),
    KeySpec(
        key="model_reasoning_effort",
        kind=Kind.TEXT,
        example="medium",
        doc="How long a reasoning model thinks, in the model's own words; unset: the model's default.",
    ),
    KeySpec(
        key="model_reasoning_summary",
        kind=Kind.CHOICE,
        choices=("auto", "concise", "detailed", "none"),
        example="auto",
        doc="Summary of the reasoning to ask for: auto, concise, detailed or none.",
    ),
    KeySpec(
        key="model_verbosity",
        kind=Kind.CHOICE,
        choices=("low", "medium", "high"),
        example="low",
        doc="Length of answers: low, medium or high; unset: the server's choice.",
    ),
    KeySpec(
        key="model_context_window",
        kind=Kind.COUNT,
        minimum=1,
        example=272_000,
        doc="Tokens that the model can hold; needed only for a model that the catalogue does not know.",
    ),
    KeySpec(
        key="approval_policy",
        kind=Kind.CHOICE,
        choices=("on-request", "never"),
        default="on-request",
        refused=MappingProxyType({"untrusted": 'is no longer supported in settings; write "on-request"'}),
        table_member="granular",
        doc="When a tool asks before it acts: on-request or never.",
    ),
    KeySpec(
        key="sandbox_mode",
        kind=Kind.CHOICE,
        choices=("read-only", "workspace-write", "danger-full-access"),
        default="read-only",
        doc="What tools may touch: read-only, workspace-write or danger-full-access.",
    ),
    KeySpec(
        key="chatgpt_base_url",
        kind=Kind.URL,
        default="https://chatgpt.com/backend-api",
        doc="Backend of a ChatGPT login; its models and pictures are found below /codex.",
    ),
    KeySpec(
        key="openai_base_url",
        kind=Kind.URL,
        example="https://api.openai.com/v1",
        doc="Address of the built-in openai provider; unset: $OPENAI_BASE_URL, the public API, or the ChatGPT backend.",
    ),
)

_FEATURES = tuple(
    KeySpec(key=f"features.{row.key}", kind=Kind.FLAG, default=row.default, doc=row.description) for row in FEATURES
)

_IMAGES = (
    KeySpec(
        key="image_generation.provider",
        kind=Kind.TEXT,
        example="openai",
        doc="Provider that draws the pictures; unset: that of the thread.",
    ),
    KeySpec(
        key="image_generation.model",
        kind=Kind.TEXT,
        default="gpt-image-2",
        doc="Model that draws the pictures.",
    ),
    KeySpec(
        key="image_generation.models",
        kind=Kind.TEXTS,
        example=["gpt-image-2", "gpt-image-1-mini"],
        doc="Image models that may be asked for beside it, where expose_parameters is on; unset: none.",
    ),
    KeySpec(
        key="image_generation.expose_parameters",
        kind=Kind.FLAG,
        default=False,
        doc="Let the chat model choose size, quality, number, background, format, mask and image model.",
    ),
    KeySpec(
        key="image_generation.max_references",
        kind=Kind.COUNT,
        default=5,
        minimum=1,
        maximum=16,
        doc="Pictures that one edit may name, by path or by handle: 1 to 16.",
    ),
    KeySpec(
        key="image_generation.max_parallel",
        kind=Kind.COUNT,
        default=4,
        minimum=1,
        doc="Picture requests of one turn that run at a time.",
    ),
    KeySpec(
        key="image_generation.partial_images",
        kind=Kind.COUNT,
        default=0,
        maximum=3,
        doc="Unfinished pictures to show while one is made, 0 to 3, where the backend sends them.",
    ),
    KeySpec(
        key="image_generation.heartbeat_s",
        kind=Kind.SECONDS,
        default=5.0,
        doc="Seconds between two signs of life while a picture is made, for clients that ask for them.",
    ),
    KeySpec(
        key="image_generation.timeout_s",
        kind=Kind.SECONDS,
        default=600.0,
        doc="Seconds after which a picture request is given up.",
    ),
    KeySpec(
        key="image_generation.save_dir",
        kind=Kind.TEXT,
        example="~/Pictures/app-server",
        doc="Folder that generated pictures are saved in, absolute, from ~ or from the home; unset: generated_images.",
    ),
    KeySpec(
        key="image_generation.name_template",
        kind=Kind.NAME_TEMPLATE,
        default="{thread}/{call}",
        placeholders=("thread", "call", "date", "slug"),
        doc="Names below that folder, without suffix: {thread}, {call}, {date} and {slug} (words of the prompt).",
    ),
    KeySpec(
        key="image_generation.quota_mb",
        kind=Kind.COUNT,
        default=0,
        doc="MiB of saved pictures from which on no new one is asked for, until some are deleted; 0: no limit.",
    ),
    KeySpec(
        key="image_generation.retention_days",
        kind=Kind.COUNT,
        default=0,
        doc="Days after which a generated picture is removed, from its thread as well; 0: kept for ever.",
    ),
)

_SERVER = (
    KeySpec(
        key="server.inline_images",
        kind=Kind.CHOICE,
        choices=("live", "always", "never"),
        default="live",
        doc="Pictures inside live messages: live (where the client can take it), always (try every client) or never.",
    ),
    KeySpec(
        key="server.inline_images_max_mb",
        kind=Kind.COUNT,
        default=100,
        minimum=1,
        maximum=200,
        doc="MiB of the largest message with a picture in it, 1 to 200; a larger one has the path and a thumbnail.",
    ),
    KeySpec(
        key="server.drain_s",
        kind=Kind.COUNT,
        example=30,
        doc="Seconds that turns may go on after a signal; unset: 30 at a listener with a shared storage, else 0.",
    ),
    KeySpec(
        key="server.public_url",
        kind=Kind.URL,
        example="https://agents.example.com",
        doc="Address of the listener as clients reach it, for addresses of pictures; unset: the one it listens on.",
    ),
    KeySpec(
        key="server.metrics_open",
        kind=Kind.FLAG,
        default=False,
        doc="Answer GET /metrics at a listener to everybody; else with the listener's login only.",
    ),
    KeySpec(
        key="server.otlp_endpoint",
        kind=Kind.URL,
        example="http://collector.internal:4318",
        doc="Collector of traces, by OTLP over HTTP (extra otel); unset: $OTEL_EXPORTER_OTLP_ENDPOINT, else none.",
    ),
)

_STORAGE = (
    KeySpec(
        key="storage.url",
        kind=Kind.TEXT,
        example="postgres://app@db.internal/app_server",
        doc="Where threads are kept: file: (this home), file:<folder>, or postgres://… for replicas (extra postgres).",
    ),
    KeySpec(
        key="storage.blobs",
        kind=Kind.TEXT,
        example="s3://bucket/prefix?endpoint=https://s3.internal",
        doc="Where pictures are kept beside PostgreSQL: s3://… (extra s3), or file:///<folder> that all replicas see.",
    ),
)

_LIMITS = (
    (
        "max_threads",
        500,
        "Threads that a tenant may have stored or open, archived ones included; 0: no limit.",
        "threads",
    ),
    (
        "max_running_turns",
        4,
        "Turns of a tenant that may run at a time, over all replicas; 0: no limit.",
        "turns at a time",
    ),
    (
        "max_pictures_per_day",
        100,
        "Pictures that a tenant may ask for within 24 hours; needs imagegenext; 0: no limit.",
        "pictures within 24 hours",
    ),
    (
        "max_picture_mb",
        2048,
        "MiB of a tenant's stored pictures from which on it gets and attaches no new one; 0: no limit.",
        "MiB of pictures",
    ),
    (
        "max_connections",
        8,
        "Connections that a tenant may have open at a time, over all replicas; 0: no limit.",
        "connections",
    ),
)
"""Name, example, what it says of all tenants, and the word for one."""
_TENANTS = (
    *(KeySpec(key=f"tenants.{name}", kind=Kind.COUNT, default=0, doc=doc) for name, _, doc, _ in _LIMITS),
    *(
        KeySpec(
            key=f"tenants.limits.*.{name}",
            kind=Kind.COUNT,
            example=example,
            doc=f"Of this tenant alone: {word}; unset: as for all.",
        )
        for name, example, _, word in _LIMITS
    ),
)

_PROVIDERS = (
    KeySpec(
        key="model_providers.*.name",
        kind=Kind.TEXT,
        doc="Name for people; unset: the table's own name.",
        example="My gateway",
    ),
    KeySpec(
        key="model_providers.*.base_url",
        kind=Kind.URL,
        doc="Address in front of /responses and /images; needed, unless OpenAI's own is meant.",
        example="https://gateway.example.com/v1",
    ),
    KeySpec(
        key="model_providers.*.env_key",
        kind=Kind.TEXT,
        doc="Environment variable that holds the key; unset: no key is sent.",
        example="GATEWAY_KEY",
    ),
    KeySpec(
        key="model_providers.*.env_key_instructions",
        kind=Kind.TEXT,
        doc="How to get the key; shown when the variable is not set.",
        example="Create a key on the gateway's account page.",
    ),
    KeySpec(
        key="model_providers.*.experimental_bearer_token",
        kind=Kind.TEXT,
        doc="The key itself, where an environment variable cannot be used.",
        example="not-a-real-key",
    ),
    KeySpec(
        key="model_providers.*.requires_openai_auth",
        kind=Kind.FLAG,
        doc="Sign requests with the login of auth.json (ChatGPT or API key).",
        default=False,
    ),
    KeySpec(
        key="model_providers.*.wire_api",
        kind=Kind.CHOICE,
        doc="API that the provider speaks; responses is the only one.",
        default="responses",
        choices=("responses",),
        refused=MappingProxyType(
            {"chat": 'is not spoken here; write "responses" and a base_url that serves /responses'}
        ),
    ),
    KeySpec(
        key="model_providers.*.query_params",
        kind=Kind.STRINGS,
        doc="Parameters appended to the address of every request.",
        default=NO_STRINGS,
        example={"api-version": "2025-04-01-preview"},
    ),
    KeySpec(
        key="model_providers.*.http_headers",
        kind=Kind.STRINGS,
        doc="Headers sent with every request.",
        default=NO_STRINGS,
        example={"x-team": "pictures"},
    ),
    KeySpec(
        key="model_providers.*.env_http_headers",
        kind=Kind.STRINGS,
        doc="Headers whose values are read from environment variables; sent only where the variable is set.",
        default=NO_STRINGS,
        example={"x-project": "GATEWAY_PROJECT"},
    ),
    KeySpec(
        key="model_providers.*.request_max_retries",
        kind=Kind.COUNT,
        doc="Retries of a request that gets no answer or a 5xx.",
        default=4,
    ),
    KeySpec(
        key="model_providers.*.stream_max_retries",
        kind=Kind.COUNT,
        doc="Retries of an answer that breaks off.",
        default=5,
    ),
    KeySpec(
        key="model_providers.*.stream_idle_timeout_ms",
        kind=Kind.COUNT,
        doc="Milliseconds without a byte after which an answer counts as broken off.",
        default=300_000,
        minimum=1,
    ),
    KeySpec(
        key="model_providers.*.stream_max_mb",
        kind=Kind.COUNT,
        doc="MiB of one whole answer, pictures in it included, above which it is given up and its turn fails.",
        default=256,
        minimum=1,
    ),
    KeySpec(
        key="model_providers.*.supports_websockets",
        kind=Kind.FLAG,
        doc="Accepted and without effect: requests always go over HTTP.",
        default=False,
    ),
    KeySpec(
        key="model_providers.*.image_generation",
        kind=Kind.FLAG,
        doc="Whether this provider can draw pictures; unset: only with requires_openai_auth.",
        example=True,
    ),
    KeySpec(
        key="model_providers.*.image_api",
        kind=Kind.CHOICE,
        choices=("auto", "json", "multipart"),
        default="auto",
        doc="How pictures are sent for an edit: json, multipart, or auto (json for a ChatGPT login, else multipart).",
    ),
    KeySpec(
        key="model_providers.*.namespace_tools",
        kind=Kind.FLAG,
        doc="Whether its API takes tools of type namespace; unset: only with requires_openai_auth.",
        example=False,
    ),
)

KEYS: tuple[KeySpec, ...] = (*_TOP, *_FEATURES, *_IMAGES, *_SERVER, *_STORAGE, *_TENANTS, *_PROVIDERS)
