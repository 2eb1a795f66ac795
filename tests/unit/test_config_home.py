"""Where the home is, and what is said when it cannot be used."""

from pathlib import Path

import pytest

from app_server.config.home import locate_home, resolve_home
from app_server.errors import ConfigurationError


def test_the_first_variable_that_is_set_names_the_home(tmp_path: Path) -> None:
    ours, theirs, user = str(tmp_path / "ours"), str(tmp_path / "theirs"), str(tmp_path)
    assert locate_home({"APP_SERVER_HOME": ours, "CODEX_HOME": theirs}) == (Path(ours), "APP_SERVER_HOME")
    assert locate_home({"APP_SERVER_HOME": " ", "CODEX_HOME": theirs}) == (Path(theirs), "CODEX_HOME")
    assert locate_home({"HOME": user}) == (tmp_path / ".app-server", None)
    assert locate_home({"HOME": user, "CODEX_HOME": "~/x"}) == (tmp_path / "x", "CODEX_HOME")


def test_a_relative_home_becomes_absolute() -> None:
    assert locate_home({"APP_SERVER_HOME": "here"})[0] == Path.cwd() / "here"


def test_a_missing_home_is_created(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    assert resolve_home({"APP_SERVER_HOME": str(home)}) == home
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "told"),
    [("APP_SERVER_HOME", "set $APP_SERVER_HOME to a folder"), ("CODEX_HOME", "set $CODEX_HOME to a folder")],
)
def test_a_home_that_cannot_be_used_names_the_variable_to_set(tmp_path: Path, variable: str, told: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError) as raised:
        resolve_home({variable: str(blocked / "home")})
    assert f"The home folder {blocked / 'home'}, named by ${variable}, cannot be used" in raised.value.message
    assert told in raised.value.message


def test_a_default_home_that_cannot_be_used_names_our_variable(tmp_path: Path) -> None:
    (tmp_path / ".app-server").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"set \$APP_SERVER_HOME to a folder that this user can write"):
        resolve_home({"HOME": str(tmp_path)})
