"""OpenTelemetry's data of our own processes.

`values` and `wire` (protobuf) for spans and logs, `metrics` for a registry; `sender` batches, `transport` takes
messages to a receiver.
"""
