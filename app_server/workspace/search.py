"""Owns finding files by a few letters of their path: which paths there are, and how well one fits. For worker threads.

    paths    of a git work tree: what is tracked, or new and not ignored; elsewhere all files below the root
    query    words; each must fit, its letters in order, whatever their case
    score    letters side by side, at the start of a word and in the last part of the path count more, gaps less

Links to folders are listed, not entered. `belongings` keeps what `list_paths` found, for as long as a session lasts.
"""

from __future__ import annotations

import heapq
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from app_server.values import frozen
from app_server.workspace.files import shown

if TYPE_CHECKING:
    from app_server.protocol.search import FuzzyFileSearchResult

MAX_RESULTS: Final = 50
MAX_PATHS: Final = 200_000
MAX_LISTING_S: Final = 10.0
"""A root that takes longer is searched as far as it was listed."""
_CHECK_EVERY: Final = 1_000

_LETTER, _SIDE_BY_SIDE, _WORD_START, _LAST_PART, _WHOLE_NAME = 16, 8, 8, 4, 32
_GAP, _GAP_LETTER, _MOST_GAP = 3, 1, 15
_SEPARATORS: Final = frozenset("/\\_-. ")
_GIT: Final = ("git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
"""Without the monitor: a program that the repository could name would be run."""
_GIT_PLACES: Final = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"})

Stop = Callable[[], bool]
"""Asked now and then: whether to end with what there is."""


@frozen
class Candidate:
    """One path below a root."""

    root: str
    path: str
    lower: str
    """The same in lower case, letter for letter."""
    is_directory: bool


def search(candidates: Iterable[Candidate], query: str, stop: Stop) -> tuple[FuzzyFileSearchResult, ...]:
    """The `MAX_RESULTS` paths that fit best, best first; of equal ones the shorter. An empty query finds nothing."""
    words = query.lower().split()
    if not words:
        return ()
    found: list[tuple[int, int, str, Candidate, tuple[int, ...]]] = []
    for count, candidate in enumerate(candidates):
        if count % _CHECK_EVERY == 0 and stop():
            break
        if (fit := fitting(words, candidate)) is not None:
            found.append((-fit[0], len(candidate.path), candidate.path, candidate, fit[1]))
    best = heapq.nsmallest(MAX_RESULTS, found, key=lambda row: row[:3])
    return tuple(_result(candidate, -rank, indices) for rank, _, _, candidate, indices in best)


def fitting(words: Sequence[str], candidate: Candidate) -> tuple[int, tuple[int, ...]] | None:
    """The score of a path and the letters that matched; None when a word does not fit. Words are in lower case."""
    total, letters = 0, set[int]()
    for word in words:
        at = _letters_of(word, candidate.lower)
        if at is None:
            return None
        total += _score(at, candidate.path)
        letters.update(at)
    return max(total, 0), tuple(sorted(letters))


def _letters_of(word: str, text: str) -> list[int] | None:
    last_part = text.rfind("/") + 1
    if "/" not in word and (within := _letters_from(word, text, last_part)) is not None:
        return within
    return _letters_from(word, text, 0)


def _letters_from(word: str, text: str, start: int) -> list[int] | None:
    """As one piece where there is one, at the start of a word if possible; else in the shortest stretch that fits."""
    if (whole := text.find(word, start)) >= 0:
        other = whole
        while other >= 0:
            if other == 0 or text[other - 1] in _SEPARATORS:
                whole = other
                break
            other = text.find(word, other + 1)
        return list(range(whole, whole + len(word)))
    end = start
    for letter in word:
        end = text.find(letter, end) + 1
        if not end:
            return None
    letters = []
    for letter in reversed(word):
        end = text.rfind(letter, start, end)
        letters.append(end)
    return letters[::-1]


def _score(letters: Sequence[int], path: str) -> int:
    last_part = path.rfind("/") + 1
    score, before = 0, -2
    for at in letters:
        score += _LETTER + (_LAST_PART if at >= last_part else 0)
        if at == before + 1:
            score += _SIDE_BY_SIDE
        elif before >= 0:
            score -= min(_GAP + _GAP_LETTER * (at - before - 2), _MOST_GAP)
        if at == 0 or path[at - 1] in _SEPARATORS or (path[at].isupper() and path[at - 1].islower()):
            score += _WORD_START
        before = at
    name = path[last_part:]
    whole = letters[0] == last_part and len(letters) in (len(name), len(name.partition(".")[0]))
    return score + (_WHOLE_NAME if whole and letters[-1] - letters[0] == len(letters) - 1 else 0)


def _result(candidate: Candidate, score: int, indices: tuple[int, ...]) -> FuzzyFileSearchResult:
    from app_server.protocol.search import FuzzyFileSearchResult  # models are loaded when they are needed

    return FuzzyFileSearchResult(
        root=candidate.root,
        path=candidate.path,
        match_type="directory" if candidate.is_directory else "file",
        file_name=candidate.path.rpartition("/")[2],
        score=score,
        indices=indices,
    )


def list_paths(roots: Iterable[tuple[str, str]], env: Mapping[str, str], stop: Stop) -> list[Candidate]:
    """The paths below all roots, each a name to show and an absolute path. What cannot be read is left out."""
    found: list[Candidate] = []
    for root, absolute in dict.fromkeys(roots):
        listed = _git_paths(absolute, env)
        if listed is None:
            listed = _walked_paths(absolute, stop)
        for path, is_directory in listed[:MAX_PATHS]:
            found.append(Candidate(root=root, path=path, lower=_lower(path), is_directory=is_directory))
    return found


def _git_paths(root: str, env: Mapping[str, str]) -> list[tuple[str, bool]] | None:
    """None where git does not know the folder, or is not there."""
    settings = {name: value for name, value in env.items() if name not in _GIT_PLACES}
    try:
        ran = subprocess.run(
            _GIT,
            cwd=root,
            env={**settings, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MAX_LISTING_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if ran.returncode:
        return None
    names = [name for name in ran.stdout.decode("utf-8", "replace").split("\0") if name]
    files: dict[str, bool] = {}
    for name in names:
        path = name.rstrip("/")
        files[path] = name.endswith("/")
        while (path := path.rpartition("/")[0]) and not files.get(path):
            files[path] = True
    return list(files.items())


def _walked_paths(root: str, stop: Stop) -> list[tuple[str, bool]]:
    """The shallow ones first, so that a limit cuts off the deep ones."""
    found: list[tuple[str, bool]] = []
    folders, until = deque([""]), time.monotonic() + MAX_LISTING_S
    while folders and len(found) < MAX_PATHS and not stop() and time.monotonic() < until:
        folder = folders.popleft()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                children = sorted(entries, key=lambda each: each.name)
        except (OSError, ValueError):
            continue
        for child in children:
            path = f"{folder}/{child.name}" if folder else child.name
            enters = _is_folder(child)
            if child.name == ".git":
                continue
            found.append((shown(path), enters or _is_folder(child, follow_symlinks=True)))
            if enters:
                folders.append(path)
    return found


def _is_folder(entry: os.DirEntry[str], *, follow_symlinks: bool = False) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return False


def _lower(path: str) -> str:
    lower = path.lower()
    return lower if len(lower) == len(path) else "".join(letter.lower()[0] for letter in path)
