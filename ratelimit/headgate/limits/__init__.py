"""Decides rate limits: configuration, matching, plan and decide. Pure; the shell is `headgate.ratelimit`."""
