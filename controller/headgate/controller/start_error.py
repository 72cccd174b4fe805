"""Why the controller cannot start."""


class StartError(Exception):
    """The message is one line for the user."""
