"""Checks of the built package: `make package`."""
