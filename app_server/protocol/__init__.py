"""The wire: one module per method family, pydantic models that mirror the protocol's schema, and nothing else.

This package imports nothing else of ours. Import a family, never the package: a module costs what its family costs.
"""
