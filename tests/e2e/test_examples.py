"""The programs in examples/, run as a person runs them: real processes, the offline provider, no key."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import anyio
import pytest

from app_server.bootstrap import App, Options
from app_server.methods import load_registry
from app_server.protocol.tables import NOTIFICATIONS
from app_server.rpc.session import OPT_IN_NOTIFICATIONS
from tests.e2e.test_demo import clean_env
from tests.interaction.test_picture_links import listening

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "examples" / "picture_client.py"
PAGE = (ROOT / "examples" / "browser.html").read_text(encoding="utf-8")
VOID_TAGS = ("link", "meta", "input", "img")
TIMEOUT_S = 60

BROWSER = """\
const nodes = new Map();
const element = (tag) => ({ tag, children: [], textContent: "", value: "Draw a red fox in the snow", remove() {},
  appendChild(child) { this.children.push(child); return child; } });
globalThis.location = { search: "?server=" + process.argv[1] };
globalThis.document = { createElement: element, getElementById: (id) =>
  nodes.has(id) ? nodes.get(id) : nodes.set(id, element(id)).get(id) };
const state = (text) => document.getElementById("status").textContent === text;
const until = async (ready) => { while (!ready()) await new Promise((done) => setTimeout(done, 5)); };
(async () => {
  await until(() => state("Ready."));
  document.getElementById("form").onsubmit({ preventDefault() {} });
  const image = () => document.getElementById("pictures").children[0];
  await until(() => state("The turn is completed.") && image()?.src && !image().src.startsWith(process.argv[2]));
  const said = document.getElementById("said").children.map((each) => each.textContent);
  console.log(JSON.stringify({ said, src: image().src.slice(0, 30), title: image().title }));
  process.exit(0);
})();
"""
"""As much of a browser as the page needs; prints what stands on it after one turn."""


class Page(HTMLParser):
    """The tags of a page, and whatever of it is wrong or comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.faults += [f"{name}={value}" for name, value in attrs if name in ("src", "href") and value != "data:,"]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def script() -> str:
    (found,) = re.findall(r"<script>\n(.*?)</script>", PAGE, re.DOTALL)
    return str(found)


async def node_with_websocket() -> list[str] | None:
    """The command of a node that knows WebSocket, or None."""
    if (found := shutil.which("node")) is None:
        return None
    node = [found, "--experimental-websocket"]  # on from release 22, where the option means nothing
    asked = await anyio.run_process([*node, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"], check=False)
    return node if asked.returncode == 0 else None


def test_the_python_client_prints_the_path_of_the_saved_picture(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"APP_SERVER": f"'{sys.executable}' -m app_server", "APP_SERVER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(CLIENT), "a", "blue", "boat"],
        cwd=tmp_path,
        env={**clean_env(), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    (saved,) = (home / "generated_images").glob("*/*.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{saved}\n", "")


def test_the_python_client_stays_short_and_needs_the_standard_library_alone() -> None:
    text = CLIENT.read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    code = [line for line in text.partition('"""\n\n')[2].splitlines() if line.strip()]
    assert (imported <= set(sys.stdlib_module_names), len(code) <= 40) == (True, True)


def test_the_page_is_whole_and_loads_nothing_from_elsewhere() -> None:
    page = Page()
    page.feed(PAGE)
    page.close()
    assert (page.open, page.faults) == ([], [])
    assert set(re.findall(r'part\("(\w+)"\)', script())) <= set(page.ids)
    assert re.findall(r"""(?:fetch|import|@import|url)\s*\(""", PAGE) == []


def test_the_page_names_real_methods_and_notifications() -> None:
    asked = set(re.findall(r'(?:request\(|method: )"([^"]+)"', script()))
    heard = set(re.findall(r'^  "([^"]+)": \(', script(), re.MULTILINE))
    assert {"thread/start", "turn/start", "image/url"} <= asked <= {*load_registry(), "initialize", "initialized"}
    assert {"item/completed", "turn/completed"} <= heard <= {*NOTIFICATIONS, *OPT_IN_NOTIFICATIONS}


@pytest.mark.parametrize(
    ("budget_bytes", "until_not", "shown"),
    [("4000000", "nothing", "data:image/png;base64,iVBORw0K"), ("30000", "data:", "http://127.0.0.1:")],
    ids=["inline", "by its address"],
)
@pytest.mark.anyio
async def test_the_page_shows_text_and_picture(tmp_path: Path, budget_bytes: str, until_not: str, shown: str) -> None:
    node = await node_with_websocket()
    if node is None:
        pytest.skip("needs node 20.10 or newer, which has a WebSocket, in the place of a browser")
    page = script().replace("BUDGET_BYTES = 4000000", f"BUDGET_BYTES = {budget_bytes}")
    options = Options(home=tmp_path, cwd=tmp_path, env={}, overrides=["model_provider=offline"], enable=["imagegenext"])
    async with App(options).running() as app, listening(app) as address:
        with anyio.fail_after(TIMEOUT_S):
            done = await anyio.run_process([*node, "-e", BROWSER + page, address, until_not], check=False)
    (saved,) = (tmp_path / "generated_images").glob("*/*.png")
    text = done.stdout.decode()
    assert (done.returncode, "Here is the picture." in text, str(saved) in text) == (0, True, True), done.stderr
    assert f'"src":"{shown}' in text
