"""What makes the pictures: one protocol, several ways. `base.py` states it."""
