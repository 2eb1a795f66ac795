"""Owns nothing: hands `@frozen` and `field` to extensions (`app_server/values.py` says what they do)."""

from app_server.values import field, frozen

__all__ = ["field", "frozen"]
