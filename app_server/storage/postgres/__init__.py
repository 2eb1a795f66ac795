"""Storage that many replicas share: log, leases, letters and hints in PostgreSQL. The bytes of pictures lie elsewhere.

`source.open_postgres_source` opens it; `database.PostgresDatabase` is what others keep rows of their own with.
"""
