"""What the settings come to, and from where, when they stand in several places."""

from pathlib import Path

import pytest

from app_server.config.errors import ConfigError
from app_server.config.layers import LayerOrigin, LoadedConfig, load_config
from app_server.config.overrides import parse_override
from app_server.config.schema import Config, ImageGenerationConfig, ProviderConfig, openai_base_url
from features import FeatureLayer


def load(home: Path, text: str, **more: list[str]) -> LoadedConfig:
    (home / "config.toml").write_text(text, encoding="utf-8")
    return load_config(home, home, **more)


def test_without_any_file_everything_has_its_default(tmp_path: Path) -> None:
    loaded = load_config(tmp_path, tmp_path)
    assert loaded.config == Config()
    assert [(layer.origin, layer.path, layer.values) for layer in loaded.layers] == [
        (LayerOrigin.USER, tmp_path / "config.toml", {})
    ]
    assert (loaded.warnings, loaded.feature_layers, loaded.origins) == ((), (), {})


def test_a_file_written_for_the_reference_is_read_without_a_word(tmp_path: Path) -> None:
    text = """
model = "gpt-5.5"
approval_policy = "never"
sandbox_mode = "workspace-write"
model_provider = "fake"
chatgpt_base_url = "http://127.0.0.1:9/backend-api"
check_for_update_on_startup = false
cli_auth_credentials_store = "file"
[analytics]
enabled = false
[features]
apps = false
enable_request_compression = false
network_proxy = { mode = "full" }
[model_providers.fake]
name = "Fake"
base_url = "http://127.0.0.1:9/v1"
wire_api = "responses"
env_key = "FAKE_API_KEY"
supports_websockets = false
request_max_retries = 0
stream_max_retries = 1
stream_idle_timeout_ms = 3000
query_params = { api-version = "1" }
http_headers = { x-a = "b" }
env_http_headers = { x-c = "D" }
websocket_connect_timeout_ms = 5
[mcp_servers.demo]
command = "python3"
[projects."/tmp/work"]
trust_level = "trusted"
[shell_environment_policy]
inherit = "core"
"""
    loaded = load(tmp_path, text)
    assert loaded.warnings == ()
    assert loaded.config == Config(
        model="gpt-5.5",
        model_provider="fake",
        approval_policy="never",
        sandbox_mode="workspace-write",
        chatgpt_base_url="http://127.0.0.1:9/backend-api",
        model_providers={
            "fake": ProviderConfig(
                id="fake",
                name="Fake",
                base_url="http://127.0.0.1:9/v1",
                env_key="FAKE_API_KEY",
                request_max_retries=0,
                stream_max_retries=1,
                stream_idle_timeout_ms=3000,
                query_params={"api-version": "1"},
                http_headers={"x-a": "b"},
                env_http_headers={"x-c": "D"},
            )
        },
        raw=loaded.layers[0].values,
    )
    assert loaded.config.raw["mcp_servers"] == {"demo": {"command": "python3"}}
    assert loaded.feature_layers == (
        FeatureLayer(origin="config.toml", values={"apps": False, "enable_request_compression": False}),
    )


def test_the_command_line_wins_over_the_file_member_by_member(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        'model = "a"\n[image_generation]\nmodel = "b"\ntimeout_s = 5\n[features]\nimagegenext = true\n',
        overrides=["model=gpt-5.5", "image_generation.timeout_s=7", "features.image_generation=false"],
        enable=["guardian_approval"],
        disable=["imagegenext"],
    )
    assert loaded.config.model == "gpt-5.5"
    assert loaded.config.image_generation == ImageGenerationConfig(model="b", timeout_s=7.0)
    assert {key: layer.origin.value for key, layer in loaded.origins.items()} == {
        "model": "command line",
        "image_generation.model": "config.toml",
        "image_generation.timeout_s": "command line",
        "features.imagegenext": "command line",
        "features.image_generation": "command line",
        "features.guardian_approval": "command line",
    }
    assert loaded.feature_layers == (
        FeatureLayer(origin="config.toml", values={"imagegenext": True}),
        FeatureLayer(
            origin="command line", values={"image_generation": False, "guardian_approval": True, "imagegenext": False}
        ),
    )


def test_a_feature_both_enabled_and_disabled_is_off_with_a_warning(tmp_path: Path) -> None:
    loaded = load_config(tmp_path, tmp_path, enable=["imagegenext"], disable=["imagegenext"])
    assert loaded.feature_layers[0].values == {"imagegenext": False}
    assert loaded.warnings == (
        "--enable imagegenext and --disable imagegenext contradict each other: it is off; drop one.",
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=gpt-5.5", (("model",), "gpt-5.5")),
        ('model="gpt-5.5"', (("model",), "gpt-5.5")),
        ("model='o3", (("model",), "o3")),
        ("a.b.c = 3", (("a", "b", "c"), 3)),
        ("features.x=true", (("features", "x"), True)),
        ('projects."/a.b".trust_level="trusted"', (("projects", "/a.b", "trust_level"), "trusted")),
        ("list=[1, 2]", (("list",), [1, 2])),
        ("t={a = 1}", (("t",), {"a": 1})),
        ("url=http://h/v1?a=b", (("url",), "http://h/v1?a=b")),
        ("x=1\ny=2", (("x",), "1\ny=2")),
        ("web search=live", (("web search",), "live")),
    ],
)
def test_an_override_is_a_dotted_key_and_a_toml_value_or_else_text(
    override: str, expected: tuple[tuple[str, ...], object]
) -> None:
    assert parse_override(override) == expected


@pytest.mark.parametrize("override", ["model", "=x", "a..b=1", ""])
def test_an_override_without_key_or_equals_sign_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"has no key or no equals sign; write -c key=value"):
        parse_override(override)


def test_a_thread_lays_its_own_settings_on_top(tmp_path: Path) -> None:
    base = load(tmp_path, 'model = "a"\n')
    thread = base.with_overrides(
        {
            "model": None,
            "model_reasoning_effort": "high",
            "features.imagegenext": True,
            "features": {"image_generation": False},
            "image_generation": {"timeout_s": 3},
        }
    )
    assert (thread.config.model, thread.config.model_reasoning_effort) == ("a", "high")
    assert thread.config.image_generation.timeout_s == 3.0
    assert thread.feature_layers == (
        FeatureLayer(origin="thread", values={"imagegenext": True, "image_generation": False}),
    )
    assert base.config == load(tmp_path, 'model = "a"\n').config


def test_a_wrong_value_of_a_thread_names_the_key_and_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(tmp_path, tmp_path).with_overrides({"features": {"imagegenext": "yes"}})
    assert raised.value.message == (
        "config of the thread: features.imagegenext is a text; write true or false, without quotes."
    )


def test_slips_are_one_warning_with_the_nearest_names(tmp_path: Path) -> None:
    text = (
        'modle = "x"\n[image_generation]\nquality = "high"\n[model_providers.a]\nbase_url = "http://a"\nenvkey = "A"\n'
    )
    assert load(tmp_path, text).warnings == (
        f"{tmp_path / 'config.toml'}: ignored settings that do not exist: modle (did you mean model?), "
        "image_generation.quality, model_providers.a.envkey (did you mean env_key?).",
    )


def test_a_built_in_provider_cannot_be_redefined(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[model_providers.openai]\nbase_url = "http://elsewhere/v1"\n')
    assert loaded.config.model_providers == {}
    assert loaded.warnings == (
        f"{tmp_path / 'config.toml'}: [model_providers.openai] is ignored, because openai is built in; give your "
        "provider another name and write that in model_provider (only the address of openai is meant: set "
        "openai_base_url).",
    )


def test_versions_follow_the_values_and_not_their_order_or_comments(tmp_path: Path) -> None:
    first = load(tmp_path, 'model = "a"\nmodel_provider = "b"\n').layers[0].version
    second = load(tmp_path, '# a remark\nmodel_provider = "b"\nmodel = "a"\n').layers[0].version
    third = load(tmp_path, 'model = "a"\nmodel_provider = "c"\n').layers[0].version
    assert first == second != third
    assert first.startswith("sha256:")


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    secrets = 'experimental_bearer_token = "s3cret"\nhttp_headers = { k = "s3cret" }\n'
    loaded = load(tmp_path, '[model_providers.a]\nbase_url = "http://a"\n' + secrets)
    assert "s3cret" not in repr(loaded)


@pytest.mark.parametrize(
    ("setting", "variable", "chatgpt", "expected"),
    [
        (None, "", False, "https://api.openai.com/v1"),
        (None, "http://proxy/v1/", False, "http://proxy/v1"),
        (None, "http://proxy/v1", True, "https://chatgpt.com/backend-api/codex"),
        ("http://mine/v1", "http://proxy/v1", False, "http://mine/v1"),
        ("http://mine/v1", "", True, "http://mine/v1"),
    ],
)
def test_the_address_of_openai_follows_setting_login_and_variable(
    setting: str | None, variable: str, chatgpt: bool, expected: str
) -> None:
    config = Config(openai_base_url=setting)
    assert openai_base_url(config, {"OPENAI_BASE_URL": variable}, chatgpt_login=chatgpt) == expected


def test_an_edit_counts_at_once_and_the_same_text_is_judged_once(tmp_path: Path) -> None:
    first = load(tmp_path, 'model = "a"')
    assert load(tmp_path, 'model = "a"') is first
    assert load(tmp_path, 'model = "b"').config.model == "b"  # as long, and in the same moment
    assert load_config(tmp_path, tmp_path, overrides=["model=c"]).config.model == "c"
    (tmp_path / "config.toml").unlink()
    assert load_config(tmp_path, tmp_path).config.model is None
