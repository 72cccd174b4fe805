"""Envoy's HTTP filters, one module per concern: the listener's filter and, where there is one, its per-route config."""
