"""Speaks Envoy's rate limit service and keeps the counters. The decisions are `headgate.limits`'."""
