"""Real clients, unmodified, against this server; run with `make interop`, and no part of the test suite."""
