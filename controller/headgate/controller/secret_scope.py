"""Which Secrets and ConfigMaps the controller reads."""

from enum import StrEnum


class SecretScope(StrEnum):
    """Of the watched namespaces."""

    ALL = "all"
    """Every one, in one watch a namespace (or one in all): few connections, and a new reference is served at once."""
    REFERENCED = "referenced"
    """Those that some object names, in one watch each: nothing else ever enters the controller's memory."""
