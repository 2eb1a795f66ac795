"""The two version numbers of the project: ours, and that of the protocol we speak. Nobody else states either."""

__version__ = "0.1.0"

PROTOCOL_VERSION = "0.169.0"
"""Release of the reference whose protocol v2 this server speaks; clients read it in `userAgent` and `--version`."""
