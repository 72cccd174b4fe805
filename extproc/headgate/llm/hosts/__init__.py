"""Where a dialect is served: path, envelope, framing. A row per host in `table`."""
