"""A long mixed load on real server processes, and what it leaves behind: `make soak`."""
