"""The command line: `headgate run`, `check`, `compile`, `explain`, `translate`."""
