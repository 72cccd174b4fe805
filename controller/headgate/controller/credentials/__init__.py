"""Credentials with an end: fetched, kept in Secrets, renewed before they end.

`rotation`, `exchange` and the modules of the providers are pure; `rotator` and `fetching` are their shell.
"""
