"""The API: every kind and field that is read, as types."""
