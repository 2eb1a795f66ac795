"""The values that hostile clients send: texts, numbers, nestings, and JSON of all shapes. Strategies, nothing else.

Texts that begin with `@` stand for things that only the running server knows (`@thread`, `@turn`, `@item`, `@sha256`,
`@work/…`); `tests/fuzz/target.py` puts the real ones in their place.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.judge import INNER_WORDS

THREADS = ("@thread", "@thread", "@thread", "019a0000-0000-7000-8000-000000000000")
PATHS = (
    "@work",
    "@work/a.txt",
    "@work/picture.png",
    "@work/folder",
    "@work/new/file",
    "@work/a.txt/below",
    "a.txt",
    "",
)
HOSTILE_TEXTS = (
    "",
    " ",
    "../../etc/passwd",
    "../" * 40 + "x",
    "\x00",
    "a\x00b",
    "x" * 10_000,
    "☃",
    "\u202eabc",
    "\x1b[31m\r\n\t",
    "%s%n{0}${x}",
    "'; drop table threads; --",
    "not-base64!!",
    "QUJD=",
    "0" * 36,
    "9" * 400,
    "-1",
    "data:image/png;base64,AAAA",
    "data:image/png;base64,!!!!",
    "https://127.0.0.1:9/x.png",
    "file:///x",
    ".",
    "a.b.c",
    '"quoted"."key"',
    "[",
    "CON",
    "\ufeff",
    "\U0010ffff",
)
HUGE_INTEGERS = (2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**300)


def nested(depth: int, of_lists: bool) -> Any:
    """Lists in lists, or objects in objects."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if of_lists else {"a": value}
    return value


def _is_foreign(text: str) -> bool:
    """Neither a stand-in nor a word by which a message of the server would betray its inside."""
    return not text.startswith("@") and INNER_WORDS.search(text) is None


texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=30).filter(_is_foreign))
integers = st.one_of(st.integers(min_value=-3, max_value=300), st.sampled_from(HUGE_INTEGERS))
floats = st.floats(allow_nan=False, allow_infinity=False)
deep = st.builds(nested, st.sampled_from((5, 60, 200, 300, 600)), st.booleans())
scalars = st.one_of(st.none(), st.booleans(), integers, floats, texts)
small_json = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
any_json = st.one_of(scalars, small_json, deep, st.builds(list), st.builds(dict))


def named_texts(name: str) -> st.SearchStrategy[str]:
    """Texts for a member of this name, good ones more often than hostile ones."""
    good = _GOOD.get(name)
    if good is None and name.endswith("ThreadId"):
        good = THREADS
    if good is None and name.endswith(("Path", "Paths", "roots", "cwds")):
        good = PATHS
    return texts if good is None else st.one_of(st.sampled_from(good), st.sampled_from(good), texts)


_GOOD: dict[str, tuple[str, ...]] = {
    "threadId": THREADS,
    "turnId": ("@turn",),
    "expectedTurnId": ("@turn",),
    "lastTurnId": ("@turn",),
    "beforeTurnId": ("@turn",),
    "itemId": ("@item",),
    "sha256": ("@sha256", "0" * 64),
    "cwd": PATHS,
    "cwds": PATHS,
    "roots": PATHS,
    "path": PATHS,
    "model": ("gpt-5.5", "offline-sketch", "nothing"),
    "modelProvider": ("offline", "fake", "openai", "nobody"),
    "dataBase64": ("QUJD", ""),
    "deltaBase64": ("QUJD", ""),
    "url": ("data:image/png;base64,iVBORw0KGgo=", "https://127.0.0.1:9/x.png"),
    "cursor": ("0", "1", "eyJ9", "@thread"),
    "keyPath": ("model", "features.imagegenext", "model_providers.x.base_url", "a.b", "tools"),
    "processId": ("p1", "p2"),
    "sessionId": ("s1",),
    "watchId": ("w1", "w2"),
    "environmentId": ("local",),
    "effort": ("low", "high"),
    "expectedRevision": ("0", "1"),
    "text": ("Hello", "Draw a fox"),
    "apiKey": ("sk-given-by-a-client",),
}
