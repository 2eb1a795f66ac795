"""Checks against a real provider, run by hand with `make eval`; they cost money and are no part of the test suite."""
