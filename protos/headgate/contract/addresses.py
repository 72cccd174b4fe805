"""How addresses of servers are written."""


def host_port(host: str, port: int) -> str:
    """As in URLs: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
