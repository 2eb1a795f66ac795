"""`app-server generate-json-schema --out DIR` and `generate-ts --out DIR`: the protocol, for those who write clients.

Both are made from the models that the server itself validates and answers with, so they cannot say anything else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from app_server.commands.schema_json import bundle
from app_server.commands.schema_ts import declarations
from app_server.errors import ConfigurationError

JSON_FILE: Final = "app_server_protocol.schemas.json"
TS_FILE: Final = "index.ts"


def run(parsed: argparse.Namespace) -> int:
    """Write the file and name it; returns the exit status."""
    if parsed.command == "generate-ts":
        path, text = Path(parsed.out, TS_FILE), declarations(bundle())
    else:
        path, text = Path(parsed.out, JSON_FILE), json.dumps(bundle(), indent=2, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        cause = (error.strerror or "output error").lower()
        raise ConfigurationError(f"{path} cannot be written ({cause}); name a folder of yours with --out.") from error
    print(path)
    return 0
