"""Headgate beside Envoy Gateway, pure: the objects it needs from us, and what we make of its translation.

Envoy Gateway owns listeners, TLS, attachment, hostnames and its policies; we own what happens on AI routes.
"""
