"""Measurements: `make bench`. See README.md for what is measured and how to read it."""
