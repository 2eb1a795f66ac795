"""What we use of jsonrpcserver, loaded without its front door. The ONLY importer of it; `rpc/dispatch.py` uses it.

Its package module imports the functions that take raw text, and with them a JSON-schema validator that is built at
import: more than a tenth of a second of every start, for functions that we never call. So while its parts are imported
an empty package stands in for it; afterwards it is gone, and whoever imports jsonrpcserver gets all of it. The same
goes for oslash, of whose many modules it needs one.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def front_door_closed(package: str) -> Iterator[None]:
    """Import parts of `package` inside, without running its `__init__`; no difference where it is loaded already."""
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    bare = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__spec__ = spec
    sys.modules[package] = bare
    try:
        yield
    finally:
        del sys.modules[package]


with front_door_closed("oslash"), front_door_closed("jsonrpcserver"):
    from jsonrpcserver.dispatcher import call
    from jsonrpcserver.request import Request as EngineRequest
    from jsonrpcserver.result import Error, Success
    from oslash.either import Left as Failed

__all__ = ["EngineRequest", "Error", "Failed", "Success", "call"]
