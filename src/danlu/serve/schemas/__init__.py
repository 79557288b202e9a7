"""What clients may send: one file an endpoint."""
