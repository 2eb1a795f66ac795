"""Runs one picture turn over stdio and prints where the picture was saved: picture_client.py a lighthouse at dawn

Needs the standard library and a server: APP_SERVER is its command line, PROVIDER who draws (a stand-in, unless named).
"""

import json
import os
import shlex
import subprocess
import sys

WORDS = " ".join(sys.argv[1:]) or "a red fox in the snow"
PROVIDER = ["-c", f'model_provider="{os.environ.get("PROVIDER", "offline")}"', "--enable", "imagegenext"]
COMMAND = [*shlex.split(os.environ.get("APP_SERVER", "app-server")), *PROVIDER]
server = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def send(message: dict) -> None:
    server.stdin.write(json.dumps(message) + "\n")
    server.stdin.flush()


send({"id": 0, "method": "initialize", "params": {"clientInfo": {"name": "picture_client", "version": "1.0"}}})
send({"method": "initialized"})
send({"id": 1, "method": "thread/start", "params": {"cwd": os.getcwd()}})
saved, failure = [], {"message": "The server ended before the turn did."}
for line in server.stdout:  # one line is one message
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if error := message.get("error"):
        sys.exit(f"{error['message']} ({error['data']['code']})")
    elif method and "id" in message:  # the server asks this client something
        send({"id": message["id"], "error": {"code": -32601, "message": f"{method} is not supported"}})
    elif message.get("id") == 1:
        words = [{"type": "text", "text": f"Draw {WORDS}"}]
        send(
            {"id": 2, "method": "turn/start", "params": {"threadId": message["result"]["thread"]["id"], "input": words}}
        )
    elif method == "item/completed" and params["item"]["type"] == "imageGeneration":
        saved += filter(None, [params["item"].get("savedPath")])
    elif method == "turn/completed":
        failure = params["turn"]["error"] or {"message": "The turn ended without a picture."}
        server.stdin.close()  # which ends the server
print(*saved, sep="\n", end="\n" if saved else "")
sys.exit(0 if saved else failure["message"])
