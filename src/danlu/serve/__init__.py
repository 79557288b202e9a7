"""Floor 5: the HTTP face of an engine, and its page."""
