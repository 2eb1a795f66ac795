"""Settings: where they are read from, what they mean, how one is changed. Knows nothing of what uses them."""
