"""What two rooms must agree on: header names, metadata keys and the facts an ext_proc stream is told.

Imports nothing of ours. Names marked compat are Envoy AI Gateway's and users script against them.
"""
