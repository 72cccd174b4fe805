"""envoyproxy/ratelimit's environment variables as our command line: `headgate-ratelimit --from-environment`.

Their names and defaults are kept, so that its Deployment runs ours by changing the image and the command. A variable
that would change what is decided, and that we do not have, is an error by its name; one that only tunes its inside
(pool sizes, pipeline windows, statsd) is ignored.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

DEFAULTS: Final[Mapping[str, str]] = {
    "HOST": "0.0.0.0",
    "PORT": "8080",
    "GRPC_UDS": "",
    "GRPC_HOST": "0.0.0.0",
    "GRPC_PORT": "8081",
    "RUNTIME_ROOT": "/srv/runtime_data/current",
    "RUNTIME_SUBDIRECTORY": "",
    "RUNTIME_APPDIRECTORY": "config",
    "BACKEND_TYPE": "redis",
    "REDIS_SOCKET_TYPE": "unix",
    "REDIS_URL": "/var/run/nutcracker/ratelimit.sock",
    "REDIS_AUTH": "",
    "REDIS_TLS": "false",
    "REDIS_TLS_CLIENT_CERT": "",
    "REDIS_TLS_CLIENT_KEY": "",
    "REDIS_TLS_CACERT": "",
    "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "false",
    "EXPIRATION_JITTER_MAX_SECONDS": "300",
    "CACHE_KEY_PREFIX": "",
    "LIMIT_RESPONSE_HEADERS_ENABLED": "false",
    "LOG_LEVEL": "WARN",
    "LOG_FORMAT": "text",
}

UNSUPPORTED: Final[Mapping[str, tuple[str, ...]]] = {
    "BACKEND_TYPE": ("redis",),
    "CONFIG_TYPE": ("FILE",),
    "REDIS_TYPE": ("SINGLE",),
    "REDIS_PERSECOND": ("false",),
    "GRPC_SERVER_USE_TLS": ("false",),
    "SHADOW_MODE": ("false",),
    "QUOTA_MODE": ("false",),
    "MERGE_DOMAIN_CONFIG": ("false",),
    "NEAR_LIMIT_RATIO": ("0.8",),
    "LIMIT_LIMIT_HEADER": (),
    "LIMIT_REMAINING_HEADER": (),
    "LIMIT_RESET_HEADER": (),
    "RESPONSE_DYNAMIC_METADATA": ("false",),
}
"""What we have of variables that decide something: any other value is refused. Empty: none."""

_LEVELS: Final[Mapping[str, str]] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "fatal": "error",
    "panic": "error",
}
_TRUE: Final = frozenset({"1", "t", "true"})
_FALSE: Final = frozenset({"0", "f", "false", ""})


class VariableError(ValueError):
    """A variable that cannot be served, by its name."""


def arguments_from(environment: Mapping[str, str]) -> list[str]:
    """The command line that means the same; raises VariableError."""
    for name, served in UNSUPPORTED.items():
        value = environment.get(name, "")
        if value and _plain(value) not in {each.lower() for each in served}:
            expected = f"; only {' or '.join(served)} is" if served else ""
            raise VariableError(f"{name}={value} is not supported{expected}")
    values = {name: environment.get(name) or default for name, default in DEFAULTS.items()}
    address = f"unix:{values['GRPC_UDS']}" if values["GRPC_UDS"] else f"{values['GRPC_HOST']}:{values['GRPC_PORT']}"
    runtime = PurePosixPath(values["RUNTIME_ROOT"], values["RUNTIME_SUBDIRECTORY"], values["RUNTIME_APPDIRECTORY"])
    arguments = ["--address", address, "--config", str(runtime)]
    arguments += ["--admin-host", values["HOST"], "--admin-port", values["PORT"]]
    arguments += ["--redis-url", redis_url(values), "--ttl-jitter-seconds", values["EXPIRATION_JITTER_MAX_SECONDS"]]
    arguments += ["--key-prefix", values["CACHE_KEY_PREFIX"]] if values["CACHE_KEY_PREFIX"] else []
    arguments += ["--limit-headers"] if _flag(values, "LIMIT_RESPONSE_HEADERS_ENABLED") else []
    level = _LEVELS.get(values["LOG_LEVEL"].lower())
    if level is None:
        raise VariableError(f"LOG_LEVEL={values['LOG_LEVEL']} is none of {', '.join(_LEVELS)}")
    return [*arguments, "--log-level", level, "--log-format", values["LOG_FORMAT"].lower()]


def redis_url(values: Mapping[str, str]) -> str:
    """The URL of the Redis that REDIS_* describe; REDIS_AUTH is a password or `user:password`."""
    socket, where = values["REDIS_SOCKET_TYPE"], values["REDIS_URL"]
    user, _, password = values["REDIS_AUTH"].rpartition(":")
    secret = f"{quote(user, safe='')}:{quote(password, safe='')}@" if values["REDIS_AUTH"] else ""
    if "://" in where:
        return where
    if socket == "unix":
        return f"unix://{secret}{where}"
    if socket not in ("tcp", "tls"):
        raise VariableError(f"REDIS_SOCKET_TYPE={socket} is none of unix, tcp, tls")
    if not _flag(values, "REDIS_TLS") and socket != "tls":
        return f"redis://{secret}{where}"
    options = {
        "ssl_ca_certs": values["REDIS_TLS_CACERT"],
        "ssl_certfile": values["REDIS_TLS_CLIENT_CERT"],
        "ssl_keyfile": values["REDIS_TLS_CLIENT_KEY"],
        "ssl_check_hostname": "false" if _flag(values, "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION") else "",
    }
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items() if value)
    return f"rediss://{secret}{where}" + (f"?{query}" if query else "")


def _plain(value: str) -> str:
    lowered = value.lower()
    return "true" if lowered in _TRUE else "false" if lowered in _FALSE else lowered


def _flag(values: Mapping[str, str], name: str) -> bool:
    plain = _plain(values[name])
    if plain not in ("true", "false"):
        raise VariableError(f"{name}={values[name]} is neither true nor false")
    return plain == "true"
