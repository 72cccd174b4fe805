"""Why a command cannot do its work."""


class StartError(Exception):
    """The message is one line for the user."""
