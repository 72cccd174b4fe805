"""How addresses of servers are written."""

from ipaddress import ip_address


def is_address(host: str) -> bool:
    """Whether it is an IP address, written without brackets, and no name to look up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_port(host: str, port: int) -> str:
    """As in URLs: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
