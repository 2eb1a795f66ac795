"""The command line: where options may stand, what is ignored with a warning, and how a mistake of the user ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_server.cli import main, parse
from app_server.version import PROTOCOL_VERSION, __version__

VERSION = f"codex-cli {PROTOCOL_VERSION} (imagegen-app-server {__version__})\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of its own."""
    folder, work = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    monkeypatch.setenv("APP_SERVER_HOME", str(folder))
    monkeypatch.setenv("APP_SERVER_LOG", "error")
    for name in ("CODEX_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(work)
    return folder


def parsed(*arguments: str) -> dict[str, object]:
    names = ("command", "listen", "overrides", "enable", "disable")
    return {name: value for name, value in vars(parse(arguments)).items() if name in names}


def serve(**changes: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "command": "serve",
        "listen": None,
        "overrides": [],
        "enable": [],
        "disable": [],
    }
    return {**plain, **changes}


@pytest.mark.parametrize("command", [[], ["serve"], ["app-server"]])
def test_three_spellings_start_the_server(command: list[str]) -> None:
    assert parsed(*command) == serve()


OPTIONS = ["-c", "model=x", "--enable", "a", "--listen", "ws://127.0.0.1:0", "--disable", "b", "--config", "y=1"]


@pytest.mark.parametrize("at", [0, 2, 4, 6, 8, 10])
@pytest.mark.parametrize("command", ["serve", "app-server"])
def test_options_may_stand_before_and_after_the_subcommand(at: int, command: str) -> None:
    assert parsed(*OPTIONS[:at], command, *OPTIONS[at:]) == serve(
        listen=["ws://127.0.0.1:0"], overrides=["model=x", "y=1"], enable=["a"], disable=["b"]
    )


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--config=model=x", "serve", "-cy=1"], {"overrides": ["model=x", "y=1"]}),
        (["--enable=a", "serve", "--enable", "b"], {"enable": ["a", "b"]}),
        (["--enable", "serve"], {"enable": ["serve"]}),
        (["-c", "demo", "serve"], {"overrides": ["demo"]}),
        (["--listen", "features"], {"listen": ["features"]}),
        (["--ws-auth", "capability-token", "--ws-token-file", "exec", "serve"], {}),
        (["--listen", "ws://a:1", "serve", "--listen=unix://"], {"listen": ["ws://a:1", "unix://"]}),
        (["--stdio", "serve"], {}),
    ],
)
def test_the_value_of_an_option_is_never_taken_for_a_subcommand(
    arguments: list[str], changes: dict[str, object]
) -> None:
    assert parsed(*arguments) == serve(**changes)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--enable", "imagegenext"],
        ["-c", "a=1", "serve", "--config", "b=2"],
        ["--disable", "a", "--enable", "b", "app-server", "--enable", "c"],
        ["--enable", "serve"],
        ["--enable", "serve", "serve"],
    ],
)
def test_what_is_read_without_the_parser_is_read_as_the_parser_reads_it(arguments: list[str]) -> None:
    assert parsed(*arguments) == parsed(*arguments, "--stdio")  # an option that is left to the parser


@pytest.mark.parametrize("arguments", [["--enable"], ["-c", "--disable", "a"]])
def test_an_option_without_its_value_is_refused_by_the_parser(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert (ended.value.code, "expected one argument" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--session-source", "vscode", "serve"], "--session-source vscode"),
        (["serve", "--analytics-default-enabled", "--enable", "a"], "--analytics-default-enabled"),
        (["--enab", "a", "serve"], "--enab a"),
    ],
)
def test_unknown_options_are_ignored_and_named_on_stderr(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse(arguments).command == "serve"
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"app-server: ignored unknown options: {named}\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--ws-tokenfile=abc123"], "--ws-tokenfile"), (["serve", "--ws-aut", "abc123"], "--ws-aut")],
)
def test_a_slip_in_a_login_option_is_an_error_that_leaves_its_value_out(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.endswith(f"unrecognized arguments: {named}\n")
    assert "abc123" not in err


@pytest.mark.parametrize("name", ["features", "extensions"])
@pytest.mark.parametrize("action", [[], ["list"]])
def test_listings_take_the_servers_options_on_both_sides(name: str, action: list[str]) -> None:
    assert parsed("--enable", "a", name, *action, "-c", "x=1") == serve(command=name, enable=["a"], overrides=["x=1"])


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["serve", "--version"], ["--no-such", "--version"]])
def test_the_version_names_the_protocol_and_this_server(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr() == (VERSION, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["commands:", "serve", "features", "extensions", "demo", "--listen ADDRESS", "exit status:"]),
        (["serve", "--help"], ["ws://HOST:PORT", "-c", "--enable FEATURE", "--disable FEATURE"]),
        (["features", "--help"], ["the feature flags"]),
        (["demo", "--help"], ["offline"]),
    ],
)
def test_help_reads_well(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert [word for word in words if word not in text] == []
    assert "SUPPRESS" not in text
    assert "None" not in text


def test_features_are_listed_with_state_origin_and_reason(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.toml").write_text("[features]\nimage_generation = true\n", encoding="utf-8")
    assert main(["--enable", "imagegenext", "features", "list"]) == 0
    rows = [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["feature", "stage", "state", "origin", "reason"]
    listed = {row[0]: " ".join(" ".join(row[1:]).split()) for row in rows[1:]}
    assert listed["image_generation"] == "stable on config.toml enabled by config.toml"
    assert listed["imagegenext"] == "underDevelopment on command line enabled by command line"


def test_the_last_word_on_the_command_line_is_the_kill_switch(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--enable", "imagegenext", "extensions", "list", "--disable", "image_generation"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "not loaded" in out
    assert "imagegenext is off because image_generation is off (command line)" in out


@pytest.mark.parametrize("command", [[], ["serve"], ["features"], ["extensions", "list"]])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('model = "x"\nmodel_provider = = 3\n', "2:18"),
        ("[features]\nimagegenext = 5\n", "2:15"),
        ("model = 5\n", "1:9"),
    ],
)
def test_a_broken_config_is_one_line_with_file_line_and_column(
    home: Path, capsys: pytest.CaptureFixture[str], command: list[str], text: str, place: str
) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"app-server: {home / 'config.toml'}:{place}: ")
    assert (err.count("\n"), err[-1]) == (1, "\n")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["-c", "nothing"], "-c nothing"),
        (["-c", "model=5"], "model"),
        (["-c", "features.imagegenext=maybe"], "imagegenext"),
    ],
)
def test_a_broken_option_is_one_line_that_names_it(
    home: Path, capsys: pytest.CaptureFixture[str], option: list[str], words: str
) -> None:
    assert main([*option, "features"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("app-server: ")
    assert words in err


def test_an_option_of_the_command_line_is_above_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.toml").write_text("[features]\nimagegenext = true\n", encoding="utf-8")
    assert main(["features", "-c", "features.imagegenext=false"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:3] for row in rows if row[0] == "imagegenext"] == [["underDevelopment", "off"]]


def test_an_unknown_feature_key_is_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "--enable", "no_such_feature"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [[], ["features"]])
def test_a_home_that_cannot_be_used_is_one_line_that_says_what_to_set(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    taken = home / "a-file"
    taken.write_text("", encoding="utf-8")
    monkeypatch.setenv("APP_SERVER_HOME", str(taken))
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"app-server: The home folder {taken}, named by $APP_SERVER_HOME, cannot be used (file exists); "
        "set $APP_SERVER_HOME to a folder that this user can write.\n",
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "ws://0.0.0.0:0", "ws://127.0.0.1:99999"])
def test_an_address_that_cannot_be_listened_on_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert main(["--listen", address]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("app-server: ")
