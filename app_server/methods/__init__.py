"""Thin handlers, one module per family: validate nothing that the models did, decide nothing that the domain can."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from app_server.rpc.registry import MethodSpec, collect

FAMILIES = (
    "account",
    "account_more",
    "command",
    "config",
    "config_write",
    "feature",
    "fs",
    "host",
    "image",
    "lists",
    "model",
    "search",
    "thread",
    "thread_more",
    "thread_pages",
    "thread_state",
    "turn",
)


def load_registry() -> Mapping[str, MethodSpec]:
    """All methods of this server, by name."""
    return collect(import_module(f"app_server.methods.{family}") for family in FAMILIES)
