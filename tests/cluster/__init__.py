"""Several replicas over one storage under load, while they are killed, stopped and drained: `make cluster-test`."""
