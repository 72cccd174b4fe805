"""What the rate limit service is told by its environment, where that is ours and not envoyproxy/ratelimit's
(`environment`)."""

from typing import Final

REDIS_VARIABLE: Final = "HEADGATE_REDIS_URL"
"""Where counters are. Everybody on a machine can read command lines, and a URL may hold a password."""
