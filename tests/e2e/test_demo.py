"""The demo as a person runs it: a picture, its edit in a new process, and what is told when it cannot be made."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one run of the demo printed, and the picture that it names."""

    output: str
    thread_id: str
    path: Path
    size_px: tuple[int, int]
    size_kb: int


def clean_env() -> dict[str, str]:
    """No key, no home and nothing of an outer `make` reaches the demo."""
    ours = ("APP_SERVER_", "CODEX_", "OPENAI_", "MAKE", "MFLAGS")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def run_demo(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app_server", "demo", *words]
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        command,
        cwd=cwd,
        env={**clean_env(), "PYTHONPATH": root, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


def shown(done: "subprocess.CompletedProcess[str]", cwd: Path) -> Shown:
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    picture = re.search(r"^picture:  (.+) \((\d+)×(\d+), (\d+) KB\)$", done.stdout, re.MULTILINE)
    thread = re.search(r"^thread:   (\S+)$", done.stdout, re.MULTILINE)
    assert picture is not None
    assert thread is not None
    width, height, size_kb = (int(picture[n]) for n in (2, 3, 4))
    return Shown(
        output=done.stdout, thread_id=thread[1], path=cwd / picture[1], size_px=(width, height), size_kb=size_kb
    )


def check_file(run: Shown) -> None:
    """The file that was named is a PNG of the size that was told."""
    with Image.open(run.path) as image:
        assert (image.format, image.size) == ("PNG", run.size_px)
    assert -(-run.path.stat().st_size // 1024) == run.size_kb


def test_the_demo_makes_a_picture_and_edits_it_in_a_new_process(tmp_path: Path) -> None:
    first = shown(run_demo("a red fox in the snow", "--no-preview", "--home", "pictures", cwd=tmp_path), tmp_path)
    check_file(first)
    second = shown(run_demo("--edit", "make it night", "--no-preview", "--home", "pictures", cwd=tmp_path), tmp_path)
    check_file(second)

    assert first.path.is_relative_to(tmp_path / "pictures" / "generated_images" / first.thread_id)
    assert (second.thread_id, second.path.parent) == (first.thread_id, first.path.parent)
    assert second.path != first.path
    assert second.path.read_bytes() != first.path.read_bytes()
    assert f"editing:  {first.path.relative_to(tmp_path)}\n" in second.output
    assert all("(offline stand-in, not AI)" in run.output and "\x1b" not in run.output for run in (first, second))
    hint = 'edit it:  app-server demo --home pictures --edit "make it night"\n'
    assert all(run.output.endswith(hint) for run in (first, second))


def test_a_prompt_from_make_survives_with_quotes_and_dollar_signs(tmp_path: Path) -> None:
    prompt = 'a "fox" for $5 & it\'s `blue` 🦊'
    env = {"APP_SERVER_DEMO_PROMPT": prompt, "APP_SERVER_DEMO_HOME": "h"}
    run = shown(run_demo("--no-preview", cwd=tmp_path, env=env), tmp_path)
    assert f"you:      {prompt}\n" in run.output
    assert run.output.endswith('edit it:  make demo HOME_DIR=h EDIT="make it night"\n')


def test_an_edit_in_a_home_without_pictures_says_what_to_run_first(tmp_path: Path) -> None:
    done = run_demo("--edit", "make it night", "--home", "empty", cwd=tmp_path)
    first = 'app-server demo --home empty "a red fox in the snow"'
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"There is no picture to edit in empty: first run {first}\n",
    )


def test_a_real_provider_without_a_key_names_what_to_set(tmp_path: Path) -> None:
    done = run_demo("a fox", "--provider", "openai", "--home", "h", cwd=tmp_path)
    assert (done.returncode, "OPENAI_API_KEY" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_broken_config_is_told_with_its_place(tmp_path: Path) -> None:
    home = tmp_path / "h"
    home.mkdir()
    (home / "config.toml").write_text("model = \n")
    done = run_demo("a fox", "--home", "h", cwd=tmp_path)
    assert (done.returncode, "config.toml" in done.stderr, "exit status 2" in done.stderr) == (1, True, True)
