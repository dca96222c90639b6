"""Adapters of libraries that do not go together with the pins of `make test`: `make test-adapters`."""
