"""A gRPC server for Envoy as its only client: HTTP/2 without TLS, calls as synchronous callbacks.

Why not grpc.aio: it costs about 300 us of CPU per short stream (a task, thread-safe queues, several writes for two
messages), this about a quarter, and Envoy is woken less often. Everything a gRPC client needs is here (flow control,
continuation, ping, graceful GOAWAY), nothing more: no TLS, no compression, no push, no priorities.

- `frames`: constants and encoders. `connection`: the protocol, without I/O. `server`: asyncio around it. `health`: the
  standard service.
"""
