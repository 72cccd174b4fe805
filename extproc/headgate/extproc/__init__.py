"""The ext_proc server: a thin shell that speaks Envoy's external processing protocol around the pure `headgate.llm`.

One gRPC stream is one HTTP request (or one attempt of it). `wire` turns messages into events and actions into
messages, the sessions decide, `server` carries bytes. Streams share nothing but caches of parsed configuration.
"""
