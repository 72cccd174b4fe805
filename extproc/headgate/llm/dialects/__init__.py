"""Wire formats, one package each: `wire`, `request`, `response`, `stream`, `errors`, and the record in `__init__`."""
