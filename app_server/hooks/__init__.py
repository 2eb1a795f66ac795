"""Commands of the user that run before and after a tool: read, matched, run, and what their answers mean."""
