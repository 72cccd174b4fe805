"""The pod webhook of mode envoy-gateway: the processor is put into Envoy Gateway's pods when they are created.

`review` is the protocol, `server` serves it over TLS on every replica, `configuration` tells the API server whom to
trust (leader), `rollout` has pods made again that are from before they needed the processor (leader).
"""
