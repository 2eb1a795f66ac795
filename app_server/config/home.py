"""Where the server keeps its settings, logins, threads and pictures. Called once, at start-up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app_server.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

HOME_VARIABLES = ("APP_SERVER_HOME", "CODEX_HOME")
DEFAULT_FOLDER = ".app-server"


def home_text(env: Mapping[str, str]) -> str | None:
    """The same as `str(locate_home(env)[0])`, for the first answer, which has no time for pathlib.

    None: this place is not plain enough, ask `locate_home`. Paths with slashes alone.
    """
    user = env.get("HOME", "")
    named = next((value for variable in HOME_VARIABLES if (value := env.get(variable, "").strip())), None)
    if (named is None or named.startswith("~")) and not user.startswith("/"):
        return None
    if named is None:
        named = f"{user}/{DEFAULT_FOLDER}"
    elif named == "~" or named.startswith("~/"):
        named = f"{user}/{named[2:]}"
    if os.sep != "/" or named.startswith("//"):
        return None
    parts = named if named.startswith("/") else f"{os.getcwd()}/{named}"
    return "/" + "/".join(part for part in parts.split("/") if part not in ("", "."))


def locate_home(env: Mapping[str, str]) -> tuple[Path, str | None]:
    """The home folder, absolute, and the variable that names it (None: the default). Touches nothing."""
    for variable in HOME_VARIABLES:
        if value := env.get(variable, "").strip():
            return _expanded(value, env).absolute(), variable
    return (_user_folder(env) / DEFAULT_FOLDER).absolute(), None


def resolve_home(env: Mapping[str, str]) -> Path:
    """The home folder, created where missing and proven writable.

    Raises `ConfigurationError` that says which variable to set.
    """
    home, variable = locate_home(env)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = home / f".writable-{os.getpid()}"  # not by tempfile, which takes longer to load than the rest
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        probe.unlink()
    except OSError as error:
        cause = (error.strerror or "input or output error").lower()
        chosen = f", named by ${variable}," if variable else ""
        fix = f"set ${variable or HOME_VARIABLES[0]} to a folder that this user can write"
        raise ConfigurationError(f"The home folder {home}{chosen} cannot be used ({cause}); {fix}.") from error
    return home


def _expanded(value: str, env: Mapping[str, str]) -> Path:
    from pathlib import Path

    if value == "~" or value.startswith(("~/", "~\\")):
        return _user_folder(env) / value[2:]
    return Path(value)


def _user_folder(env: Mapping[str, str]) -> Path:
    from pathlib import Path

    if named := env.get("HOME") or env.get("USERPROFILE"):
        return Path(named)
    try:
        return Path.home()
    except RuntimeError as error:
        message = f"This user has no home folder; set ${HOME_VARIABLES[0]} to a folder that it can write."
        raise ConfigurationError(message) from error
