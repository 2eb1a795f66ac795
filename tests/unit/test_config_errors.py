"""Every wrong file is answered with file, line, column, what was found and what to write."""

import os
from pathlib import Path

import pytest

from app_server.config.errors import ConfigError
from app_server.config.layers import load_config
from app_server.config.positions import locate


def error_of(home: Path, text: str | bytes, **more: list[str]) -> str:
    (home / "config.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as raised:
        load_config(home, home, **more)
    message = raised.value.message
    assert "\n" not in message
    return message.removeprefix(str(home) + os.sep)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'model = "a"\nmodel_provider = fake\n',
            'config.toml:2:18: not valid TOML (Invalid value); put texts in double quotes, such as model = "gpt-5.5".',
        ),
        (
            "model\n",
            "config.toml:1:6: not valid TOML (Expected '=' after a key in a key/value pair); "
            "write one key = value on the line.",
        ),
        (
            'model = "a"\nmodel = "b"\n',
            "config.toml:2:12: not valid TOML (Cannot overwrite a value); the key stands there twice, keep one.",
        ),
        (
            'model = "a',
            "config.toml:1:11: not valid TOML (Unterminated string); close the quote.",
        ),
        (
            "[features\n",
            "config.toml:1:10: not valid TOML (Expected ']' at the end of a table declaration); "
            "correct it there; config.example.toml shows the form of every setting.",
        ),
        (
            f"a = {'[' * 5000}{']' * 5000}\n",
            "config.toml: nested too deeply to be read; no setting is, so take it out.",
        ),
        (
            b'# \xc3\xa9\nmodel = "\xff"\n',
            "config.toml:2:10: not UTF-8 text; save the file with the encoding UTF-8.",
        ),
    ],
)
def test_text_that_is_not_toml_is_located_and_explained(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert error_of(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model = 5", "1:9: model is a whole number; write a text in double quotes."),
        ('\n  model = ""', "2:11: model is an empty text; write a text in double quotes."),
        (
            'approval_policy = "untrusted"',
            '1:19: approval_policy "untrusted" is no longer supported in settings; write "on-request".',
        ),
        (
            'approval_policy = "sometimes"',
            '1:19: approval_policy is "sometimes"; write "on-request" or "never".',
        ),
        (
            "approval_policy = { other = 1 }",
            '1:19: approval_policy is a table; write "on-request" or "never".',
        ),
        (
            'sandbox_mode = "nonsense"',
            '1:16: sandbox_mode is "nonsense"; write "read-only" or "workspace-write" or "danger-full-access".',
        ),
        (
            "model_context_window = 0",
            "1:24: model_context_window is 0; write a whole number of 1 or more, without quotes.",
        ),
        (
            "model_context_window = true",
            "1:24: model_context_window is true; write a whole number of 1 or more, without quotes.",
        ),
        (
            'chatgpt_base_url = "chatgpt.com"',
            '1:20: chatgpt_base_url is a text; write an address such as "https://gateway.example.com/v1".',
        ),
        (
            "# remark\n[features]\napps = false # [x]\nimagegenext = 1",
            "4:15: features.imagegenext is a whole number; write true or false, without quotes.",
        ),
        (
            'features = { imagegenext = "on" }',
            "1:28: features.imagegenext is a text; write true or false, without quotes.",
        ),
        ("features = 3", "1:12: features is a whole number; write a table [features]."),
        ("model_providers.x = []", "1:21: model_providers.x is a list; write a table [model_providers.x]."),
        (
            '[model_providers.x]\nbase_url = "http://x"\nwire_api = "chat"',
            '3:12: model_providers.x.wire_api "chat" is not spoken here; '
            'write "responses" and a base_url that serves /responses.',
        ),
        (
            '[model_providers.x]\nbase_url = "http://x"\nrequest_max_retries = -1',
            "3:23: model_providers.x.request_max_retries is -1; write a whole number of 0 or more, without quotes.",
        ),
        (
            '[model_providers."a.b"]\nbase_url = "http://x"\nhttp_headers = { "x-y" = 1 }',
            '3:16: model_providers.a.b.http_headers is a table; write a table of texts such as { name = "value" }.',
        ),
        (
            '\n[model_providers.x]\nenv_key = "X"',
            '2:1: model_providers.x has no base_url; write base_url = "https://…", the address before /responses.',
        ),
        (
            "image_generation.timeout_s = 0.0",
            "1:30: image_generation.timeout_s is 0.0; write a number of seconds above 0, without quotes.",
        ),
        *(
            (
                f'image_generation.name_template = "{template}"',
                "1:34: image_generation.name_template is a text; write a relative name such as "
                '"{thread}/{call}", with no other placeholders than {thread} {call} {date} {slug}.',
            )
            for template in ("{call", "{id}", "{}", "{call!r}", "{date:x}", "/{call}", "../{call}", "a//b", "a\\\\b")
        ),
        (
            'server.inline_images = "sometimes"',
            '1:24: server.inline_images is "sometimes"; write "live" or "always" or "never".',
        ),
        (
            "server.inline_images_max_mb = 201",
            "1:31: server.inline_images_max_mb is 201; write a whole number from 1 to 200, without quotes.",
        ),
        ("model = 2020-01-01", "1:9: model is a date or time; write a text in double quotes."),
    ],
)
def test_a_value_of_the_wrong_type_is_located_and_explained(tmp_path: Path, text: str, expected: str) -> None:
    assert error_of(tmp_path, text) == f"config.toml:{expected}"


def test_a_wrong_value_that_may_be_a_secret_is_not_repeated(tmp_path: Path) -> None:
    text = '[model_providers.x]\nbase_url = "http://x"\nexperimental_bearer_token = 12345\n'
    wrong = "model_providers.x.experimental_bearer_token is a whole number; write a text in double quotes."
    assert error_of(tmp_path, text) == f"config.toml:3:29: {wrong}"


def test_a_wrong_value_of_the_command_line_is_said_to_come_from_there(tmp_path: Path) -> None:
    assert error_of(tmp_path, 'model = "a"', overrides=["model_verbosity=loud"]) == (
        '-c: model_verbosity is "loud"; write "low" or "medium" or "high".'
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(
        ConfigError, match=r"config\.toml: cannot be read \(.+\); make it a file that this user can read"
    ):
        load_config(tmp_path, tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'\xef\xbb\xbfmodel = "a"\r\nmodel_verbosity = "low"\r\n')
    assert load_config(tmp_path, tmp_path).config.model_verbosity == "low"


WALKED = '''\
title = """two
lines""" # ] }
[a.b]
"odd.key" = { x = 1, y = { z = [1, { w = 'v' }] } }
arr = [
  1, # one
  "t]",
]
c.d = 2020-01-01T00:00:00Z

[[rows]]
n = 1
'''


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("title",), (1, 9)),
        (("a", "b"), (3, 1)),
        (("a",), (3, 1)),
        (("a", "b", "odd.key"), (4, 13)),
        (("a", "b", "odd.key", "y", "z"), (4, 32)),
        (("a", "b", "odd.key", "y", "z", "1", "w"), (4, 42)),
        (("a", "b", "arr", "1"), (7, 3)),
        (("a", "b", "c", "d"), (9, 7)),
        (("rows",), (11, 1)),
        (("rows", "n"), (12, 5)),
        (("a", "b", "nowhere"), (3, 1)),
        (("nowhere",), (1, 1)),
    ],
)
def test_a_value_is_found_wherever_toml_lets_it_stand(path: tuple[str, ...], place: tuple[int, int]) -> None:
    assert locate(WALKED, path) == place
    assert locate(WALKED.replace("\n", "\r\n"), path) == place
