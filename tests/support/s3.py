"""A real S3 API for tests: moto's server on a free port of 127.0.0.1, one for a run, and a new bucket for each test.

It checks no signature. What a server process needs to use it is `CREDENTIALS`, in its environment.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping
from functools import cache
from itertools import count
from typing import Final
from urllib.parse import urlencode

import httpx

CREDENTIALS: Final[Mapping[str, str]] = {
    "AWS_ACCESS_KEY_ID": "AKIATESTS",
    "AWS_SECRET_ACCESS_KEY": "open-sesame",
    "AWS_REGION": "us-east-1",
}
_numbers = count(1)


@cache
def endpoint() -> str:
    """The address of the server; it is started with the first test that needs it and ends with the process."""
    from moto.server import ThreadedMotoServer  # slow to load

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def new_bucket() -> str:
    """An empty bucket; returns its name."""
    name = f"pictures-{next(_numbers)}"
    httpx.put(f"{endpoint()}/{name}").raise_for_status()
    return name


def blobs_url(bucket: str, prefix: str = "prefix", **options: str) -> str:
    """What `storage.blobs` says of a bucket of this server."""
    return f"s3://{bucket}/{prefix}?{urlencode({'endpoint': endpoint(), **options})}"


def keys(bucket: str) -> list[str]:
    """The keys of all objects in a bucket."""
    from xml.etree import ElementTree

    listing = httpx.get(f"{endpoint()}/{bucket}", params={"list-type": "2"}).raise_for_status().text
    return [found.text or "" for found in ElementTree.fromstring(listing).iter() if found.tag.endswith("}Key")]
