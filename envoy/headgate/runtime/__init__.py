"""The process shell all servers share: logging, gRPC health and drain, child processes, the Envoy launcher.

Imports nothing of the compiler or of the pure cores. Only `main` modules read the environment; they pass values here.
"""
