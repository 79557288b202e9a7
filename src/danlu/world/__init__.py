"""TODO docstring by the room's owner."""
