"""Files, commands and file search as clients ask for them, outside of any thread."""
