"""OpenTelemetry's data of our own processes, sent in batches: `values`, `wire` (protobuf), `sender`."""
