"""Writes a small file so that a reader sees the old content or the new, never a part. For settings and credentials."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_MODE = 0o600


def write_atomically(path: Path, data: bytes, *, mode: int = PRIVATE_MODE) -> None:
    """Replace the file's content, durably. A link stays a link: the file that it points to is replaced.

    `mode` counts for the written file where the platform has modes. Raises `OSError`; the old content is then intact.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    import tempfile  # slow to load, and of no use to a start

    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # created readable by us alone
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if os.name != "nt":
            temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
