"""What the controller can be, a module each: `add_arguments(parser)` for the command line and `run(options, stop)`.

`run` serves until `stop` is set and returns; it raises `StartError` where it cannot start.
"""
