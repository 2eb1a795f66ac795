"""What a repository says, asked of the `git` program: where a thread works, and the change that is to be reviewed.

Read-only, bounded in time and output. Without git, or outside a repository, the answer is None.
"""

from __future__ import annotations

import os
from pathlib import Path

import anyio

TIMEOUT_S = 10.0
MAX_DIFF_CHARS = 200_000
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


async def git(cwd: Path, *arguments: str) -> str | None:
    """The standard output of a git command, or None when it failed."""
    try:
        with anyio.fail_after(TIMEOUT_S):
            done = await anyio.run_process(
                ["git", "-c", "core.fsmonitor=false", *arguments], cwd=cwd, check=False, env={**os.environ, **_QUIET}
            )
    except (OSError, TimeoutError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def git_info(cwd: Path) -> dict[str, str | None] | None:
    """The protocol's GitInfo of a folder, read from the repository's own files; None outside a repository."""
    folder = _git_folder(cwd)
    head = _text(folder / "HEAD") if folder is not None else None
    if folder is None or head is None:
        return None
    common = folder / (_text(folder / "commondir") or ".")
    ref = head.removeprefix("ref: ") if head.startswith("ref: ") else None
    sha = _text(folder / ref) or _text(common / ref) or _packed(common, ref) if ref is not None else head
    return {
        "sha": sha,
        "branch": ref.removeprefix("refs/heads/") if ref is not None else None,
        "originUrl": _origin(common / "config"),
    }


def _git_folder(cwd: Path) -> Path | None:
    for folder in (cwd, *cwd.parents):
        if not os.path.exists(name := os.path.join(folder, ".git")):
            continue
        place = Path(name)
        if place.is_dir():
            return place
        if (pointer := _text(place)) is not None and pointer.startswith("gitdir: "):
            return folder / pointer.removeprefix("gitdir: ")
    return None


def _packed(common: Path, ref: str) -> str | None:
    for line in (_text(common / "packed-refs") or "").splitlines():
        sha, _, name = line.partition(" ")
        if name == ref:
            return sha
    return None


def _origin(config: Path) -> str | None:
    section = ""
    for line in (_text(config) or "").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == '[remote "origin"]' and line.partition("=")[0].strip() == "url":
            return line.partition("=")[2].strip() or None
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


async def working_tree_diff(cwd: Path) -> str | None:
    """Staged, unstaged and untracked changes, cut at MAX_DIFF_CHARS."""
    changed = await git(cwd, "diff", "HEAD")
    names = await git(cwd, "ls-files", "--others", "--exclude-standard", "-z")
    if changed is None or names is None:
        return None
    parts = [changed]
    for name in [name for name in names.split("\0") if name][:200]:
        parts.append(await _new_file(cwd, name))
    return _cut("".join(parts))


async def diff_between(cwd: Path, base: str) -> str | None:
    """What the current branch adds to where it left `base`."""
    return _cut(await git(cwd, "diff", "--merge-base", "--end-of-options", base))


async def commit_diff(cwd: Path, sha: str) -> str | None:
    """What one commit changed."""
    return _cut(await git(cwd, "show", "--format=medium", "--end-of-options", sha))


async def _new_file(cwd: Path, name: str) -> str:
    try:
        text = await anyio.Path(cwd / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return f"\nnew file {name} (not text)\n"
    lines = "".join(f"+{line}\n" for line in text[:MAX_DIFF_CHARS].splitlines())
    return f"\nnew file {name}\n{lines}"


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_DIFF_CHARS:
        return text
    return text[:MAX_DIFF_CHARS] + f"\n[cut: {len(text) - MAX_DIFF_CHARS} characters more]\n"
