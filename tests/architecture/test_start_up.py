"""The first answer goes out before anything slow is loaded: what a start may import until then."""

import subprocess
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
FORBIDDEN = {
    "PIL", "httpx", "jsonrpcserver", "jsonschema", "pydantic", "pydantic_core", "sqlite3", "structlog", "tomlkit",
    "truststore", "websockets",
}  # fmt: skip
"""The packages that cost most of a start; they are loaded while the client reads the first answer."""

PROBE = """
import sys
from app_server.bootstrap import App
answer = App.initialize
def initialize(self, *given):
    reply = answer(self, *given)
    sys.stderr.write(" ".join(sorted({name.partition(".")[0] for name in sys.modules})) + "\\n")
    return reply
App.initialize = initialize
from app_server.cli import main
sys.exit(main([]))
"""
HELLO = b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"probe","version":"1"}}}\n'


def test_nothing_slow_is_loaded_before_the_first_answer(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=HELLO,
        capture_output=True,
        env={"APP_SERVER_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "PYTHONPATH": ROOT},
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    loaded = set(done.stderr.decode().splitlines()[0].split())
    assert "anyio" in loaded  # the probe has seen a server
    assert loaded & FORBIDDEN == set()


NOT_FOR_A_THREAD = {
    "argparse", "email", "hashlib", "html", "random", "secrets", "tempfile", "zipfile",
}  # fmt: skip
"""Of the standard library: what only some requests, pictures or other command lines need, and is slow to load."""

THREAD_PROBE = """
import sys
from app_server.rpc.connection import Connection
reply = Connection._reply
def replied(self, ctx, answer, **more):
    if ctx.method == "thread/start":
        sys.stderr.write(" ".join(sorted({name.partition(".")[0] for name in sys.modules})) + "\\n")
    return reply(self, ctx, answer, **more)
Connection._reply = replied
from app_server.cli import main
sys.exit(main(["--enable", "imagegenext"]))
"""
START = b'{"id":2,"method":"thread/start","params":{"cwd":"/","model":"m"}}\n'


def test_nothing_slow_that_a_thread_does_not_need_is_loaded_before_it_is_started(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREAD_PROBE],
        input=HELLO + START,
        capture_output=True,
        env={"APP_SERVER_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "PYTHONPATH": ROOT},
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    loaded = set(done.stderr.decode().splitlines()[0].split())
    assert {"anyio", "sqlite3"} <= loaded  # the probe has seen a thread
    assert loaded & ((FORBIDDEN | NOT_FOR_A_THREAD) - {"jsonrpcserver", "sqlite3"}) == set()
