"""Counters in Redis: shared by any number of limiter processes, and with envoyproxy/ratelimit (same keys).

storage    takes transactions, and splits those whose counters are in several places
nodes      which places there are: one Redis, the master that sentinels name (`sentinel`), a cluster (`cluster`)
lane       batches for one Redis: one round trip at a time
script     transactions as the script's arguments, its replies as outcomes (`limits.lua`)
link       one connection; `address` reads the URL
"""
