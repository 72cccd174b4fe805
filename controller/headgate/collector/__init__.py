"""Receives Envoy's access log, makes usage records of it and hands them on: a process of its own."""
