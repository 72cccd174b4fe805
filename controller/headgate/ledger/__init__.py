"""What was used, by whom, and what it cost: from access-log entries to usage records. Pure."""
