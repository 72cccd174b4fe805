"""Envoy's HTTP filters, one module per concern. Each gives the listener's filter and, where it has one, its per-route config."""
