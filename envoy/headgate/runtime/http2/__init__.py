"""A gRPC server, mostly for Envoy: HTTP/2 without TLS, calls as synchronous callbacks.

Why not grpc.aio: it costs about 300 us of CPU per short stream and 130 per unary call (a task, thread-safe queues,
several writes for two messages), this about a quarter and a tenth, and Envoy is woken less often. Everything a gRPC
client needs is here (flow control, continuation, ping, graceful GOAWAY), nothing more: no TLS, no compression, no push,
no priorities.

- `frames`: constants and encoders. `connection`: the protocol, without I/O. `server`: asyncio around it. `health`: the
  standard service.
"""
