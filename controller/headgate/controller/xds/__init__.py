"""Our delta ADS server.

`snapshot` is what to serve, `session` decides what one Envoy is sent next (sans-IO), `withhold` keeps what Envoy
refused out of the next snapshot, `wire` turns protobuf into values and back, `server` owns sockets and clocks.
"""
