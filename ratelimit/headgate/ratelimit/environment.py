"""envoyproxy/ratelimit's environment variables as our command line: `headgate-ratelimit --from-environment`.

Their names and defaults are kept, so that its Deployment runs ours by changing the image and the command. A variable
that would change what is decided, and that we do not have, is an error by its name; one that only tunes its inside
(pool sizes, connection ages) is ignored.
"""

import re
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
    "CONFIG_TYPE": "FILE",
    "FORCE_START_WITHOUT_INITIAL_CONFIG": "false",
    "MERGE_DOMAIN_CONFIG": "false",
    "CONFIG_GRPC_XDS_NODE_ID": "default",
    "CONFIG_GRPC_XDS_NODE_METADATA": "",
    "CONFIG_GRPC_XDS_SERVER_URL": "localhost:18000",
    "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": "",
    "CONFIG_GRPC_XDS_SERVER_USE_TLS": "false",
    "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": "",
    "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": "",
    "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": "",
    "CONFIG_GRPC_XDS_SERVER_TLS_SAN": "",
    "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": "10s",
    "XDS_CLIENT_BACKOFF_MAX_INTERVAL": "60s",
    "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": "",
    "REDIS_SOCKET_TYPE": "unix",
    "REDIS_TYPE": "SINGLE",
    "REDIS_URL": "/var/run/nutcracker/ratelimit.sock",
    "REDIS_AUTH": "",
    "REDIS_SENTINEL_AUTH": "",
    "REDIS_TLS": "false",
    "REDIS_TIMEOUT": "10s",
    "REDIS_PIPELINE_WINDOW": "0",
    "REDIS_PIPELINE_LIMIT": "0",
    "REDIS_PERSECOND": "false",
    "REDIS_PERSECOND_SOCKET_TYPE": "unix",
    "REDIS_PERSECOND_TYPE": "SINGLE",
    "REDIS_PERSECOND_URL": "/var/run/nutcracker/ratelimitpersecond.sock",
    "REDIS_PERSECOND_AUTH": "",
    "REDIS_PERSECOND_SENTINEL_AUTH": "",
    "REDIS_PERSECOND_TLS": "false",
    "REDIS_PERSECOND_TIMEOUT": "10s",
    "REDIS_TLS_CLIENT_CERT": "",
    "REDIS_TLS_CLIENT_KEY": "",
    "REDIS_TLS_CACERT": "",
    "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "false",
    "EXPIRATION_JITTER_MAX_SECONDS": "300",
    "CACHE_KEY_PREFIX": "",
    "LIMIT_RESPONSE_HEADERS_ENABLED": "false",
    "LIMIT_LIMIT_HEADER": "RateLimit-Limit",
    "LIMIT_REMAINING_HEADER": "RateLimit-Remaining",
    "LIMIT_RESET_HEADER": "RateLimit-Reset",
    "NEAR_LIMIT_RATIO": "0.8",
    "SHADOW_MODE": "false",
    "QUOTA_MODE": "false",
    "GRPC_SERVER_USE_TLS": "false",
    "GRPC_SERVER_TLS_CERT": "",
    "GRPC_SERVER_TLS_KEY": "",
    "GRPC_CLIENT_TLS_CACERT": "",
    "GRPC_CLIENT_TLS_SAN": "",
    "RESPONSE_DYNAMIC_METADATA": "false",
    "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": "false",
    "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED": "false",
    "LOG_LEVEL": "WARN",
    "LOG_FORMAT": "text",
    "USE_STATSD": "true",
    "DISABLE_STATS": "false",
    "USE_PROMETHEUS": "false",
    "STATSD_HOST": "localhost",
    "STATSD_PORT": "8125",
    "STATS_FLUSH_INTERVAL": "10s",
    "EXTRA_TAGS": "",
    "LOCAL_CACHE_SIZE_IN_BYTES": "0",
    "TRACING_ENABLED": "false",
    "TRACING_EXPORTER_PROTOCOL": "http",
    "TRACING_SERVICE_NAME": "RateLimit",
    "TRACING_SERVICE_NAMESPACE": "",
    "TRACING_SERVICE_INSTANCE_ID": "",
    "TRACING_SAMPLING_RATE": "1",
}

SERVED: Final[Mapping[str, str]] = {"BACKEND_TYPE": "redis"}
"""The only value that we have of some variables that decide something: any other is refused."""

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
    for name, served in SERVED.items():
        value = environment.get(name, "")
        if value and _plain(value) != served:
            raise VariableError(f"{name}={value} is not supported; only {served} is")
    values = {name: environment.get(name) or default for name, default in DEFAULTS.items()}
    address = f"unix:{values['GRPC_UDS']}" if values["GRPC_UDS"] else f"{values['GRPC_HOST']}:{values['GRPC_PORT']}"
    arguments = ["--address", address, *_config_arguments(values)]
    arguments += ["--admin-host", values["HOST"], "--admin-port", values["PORT"]]
    arguments += [*_redis_arguments(values), "--ttl-jitter-seconds", values["EXPIRATION_JITTER_MAX_SECONDS"]]
    arguments += ["--key-prefix", values["CACHE_KEY_PREFIX"]] if values["CACHE_KEY_PREFIX"] else []
    arguments += ["--limit-headers"] if _flag(values, "LIMIT_RESPONSE_HEADERS_ENABLED") else []
    arguments += _mode_arguments(values)
    arguments += [*_statsd_arguments(values), *_tracing_arguments(values)]
    level = _LEVELS.get(values["LOG_LEVEL"].lower())
    if level is None:
        raise VariableError(f"LOG_LEVEL={values['LOG_LEVEL']} is none of {', '.join(_LEVELS)}")
    return [*arguments, "--log-level", level, "--log-format", values["LOG_FORMAT"].lower()]


def _statsd_arguments(values: Mapping[str, str]) -> list[str]:
    """Statsd is on there unless something else is said, and Prometheus comes before it."""
    if not _flag(values, "USE_STATSD") or _flag(values, "DISABLE_STATS") or _flag(values, "USE_PROMETHEUS"):
        return []
    arguments = ["--statsd", f"{values['STATSD_HOST']}:{values['STATSD_PORT']}"]
    arguments += ["--statsd-interval-seconds", _seconds_text(values, "STATS_FLUSH_INTERVAL")]
    for pair in filter(None, values["EXTRA_TAGS"].split(",")):
        arguments += ["--statsd-tag", pair.replace(":", "=", 1)]
    return arguments


def _tracing_arguments(values: Mapping[str, str]) -> list[str]:
    """Where spans go is said by `OTEL_*`, there as here."""
    if not _flag(values, "TRACING_ENABLED"):
        return []
    protocol = values["TRACING_EXPORTER_PROTOCOL"]
    if protocol not in ("http", "grpc"):
        raise VariableError(f"TRACING_EXPORTER_PROTOCOL={protocol} is none of http, grpc")
    try:
        rate = float(values["TRACING_SAMPLING_RATE"])
    except ValueError:
        raise VariableError(f"TRACING_SAMPLING_RATE={values['TRACING_SAMPLING_RATE']} is no number") from None
    arguments = ["--tracing", "--tracing-protocol", protocol, "--tracing-sampling-rate", f"{min(max(rate, 0), 1):g}"]
    for name in ("NAME", "NAMESPACE", "INSTANCE_ID"):
        value = values[f"TRACING_SERVICE_{name}"]
        arguments += [f"--tracing-service-{name.lower().replace('_', '-')}", value] if value else []
    return arguments


def _mode_arguments(values: Mapping[str, str]) -> list[str]:
    headers = ",".join(values[f"LIMIT_{name}_HEADER"] for name in ("LIMIT", "REMAINING", "RESET"))
    arguments = ["--limit-header-names", headers, "--near-limit-ratio", values["NEAR_LIMIT_RATIO"]]
    arguments += ["--shadow-mode"] if _flag(values, "SHADOW_MODE") else []
    arguments += ["--response-metadata"] if _flag(values, "RESPONSE_DYNAMIC_METADATA") else []
    arguments += ["--quota-mode"] if _flag(values, "QUOTA_MODE") else []
    arguments += ["--health-needs-config"] if _flag(values, "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED") else []
    if not _flag(values, "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION"):
        arguments += ["--health-without-storage"]
    if _flag(values, "GRPC_SERVER_USE_TLS"):
        arguments += ["--tls-certificate", values["GRPC_SERVER_TLS_CERT"], "--tls-key", values["GRPC_SERVER_TLS_KEY"]]
        ca = values["GRPC_CLIENT_TLS_CACERT"]
        arguments += ["--tls-client-ca", ca] if ca else []
        name = values["GRPC_CLIENT_TLS_SAN"]
        arguments += ["--tls-client-name", name] if ca and name else []
    return arguments


def _config_arguments(values: Mapping[str, str]) -> list[str]:
    arguments = ["--merge-domains"] if _flag(values, "MERGE_DOMAIN_CONFIG") else []
    arguments += ["--start-without-config"] if _flag(values, "FORCE_START_WITHOUT_INITIAL_CONFIG") else []
    match values["CONFIG_TYPE"]:
        case "FILE":
            names = ("RUNTIME_ROOT", "RUNTIME_SUBDIRECTORY", "RUNTIME_APPDIRECTORY")
            return [*arguments, "--config", str(PurePosixPath(*(values[name] for name in names)))]
        case "GRPC_XDS_SOTW":
            return [*arguments, *_xds_arguments(values)]
        case other:
            raise VariableError(f"CONFIG_TYPE={other} is none of FILE, GRPC_XDS_SOTW")


def _xds_arguments(values: Mapping[str, str]) -> list[str]:
    scheme = "xds+tls" if _flag(values, "CONFIG_GRPC_XDS_SERVER_USE_TLS") else "xds"
    arguments = ["--config", f"{scheme}://{values['CONFIG_GRPC_XDS_SERVER_URL']}"]
    arguments += ["--xds-node-id", values["CONFIG_GRPC_XDS_NODE_ID"]]
    for pair in filter(None, values["CONFIG_GRPC_XDS_NODE_METADATA"].split(",")):
        arguments += ["--xds-node-metadata", pair]
    for pair in filter(None, values["CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS"].split(",")):
        arguments += ["--xds-header", pair.replace(":", "=", 1).lower()]
    for name, option in _XDS_OPTIONS.items():
        arguments += [option, values[name]] if values[name] else []
    arguments += ["--xds-pause-seconds", _seconds_text(values, "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL")]
    return [*arguments, "--xds-pause-seconds-max", _seconds_text(values, "XDS_CLIENT_BACKOFF_MAX_INTERVAL")]


_XDS_OPTIONS: Final[Mapping[str, str]] = {
    "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": "--xds-certificate",
    "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": "--xds-key",
    "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": "--xds-ca",
    "CONFIG_GRPC_XDS_SERVER_TLS_SAN": "--xds-server-name",
    "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": "--xds-message-bytes-max",
}


def _redis_arguments(values: Mapping[str, str]) -> list[str]:
    arguments = ["--redis-url", redis_url(values), "--redis-timeout-seconds", _seconds_text(values, "REDIS_TIMEOUT")]
    window = _seconds_text(values, "REDIS_PIPELINE_WINDOW")
    arguments += ["--redis-gather-seconds", window, "--redis-batch-ops-max", values["REDIS_PIPELINE_LIMIT"]]
    arguments += ["--local-cache-bytes", values["LOCAL_CACHE_SIZE_IN_BYTES"]]
    if _flag(values, "REDIS_PERSECOND"):
        arguments += ["--redis-per-second-url", redis_url(values, "REDIS_PERSECOND")]
        arguments += ["--redis-per-second-timeout-seconds", _seconds_text(values, "REDIS_PERSECOND_TIMEOUT")]
    return arguments


def redis_url(values: Mapping[str, str], group: str = "REDIS") -> str:
    """The URL of the Redis that a group of variables describes; an AUTH is a password or `user:password`."""
    socket, where, kind = values[f"{group}_SOCKET_TYPE"], values[f"{group}_URL"], values[f"{group}_TYPE"].lower()
    if kind not in ("single", "sentinel", "cluster"):
        raise VariableError(f"{group}_TYPE={values[f'{group}_TYPE']} is none of single, sentinel, cluster")
    if "://" in where:
        return where
    user, _, password = values[f"{group}_AUTH"].rpartition(":")
    secret = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    if kind == "single" and socket == "unix":
        return f"unix://{secret}{where}"
    if kind == "single" and socket not in ("tcp", "tls"):
        raise VariableError(f"{group}_SOCKET_TYPE={socket} is none of unix, tcp, tls")
    tls = _flag(values, f"{group}_TLS") or socket == "tls"
    scheme = ("rediss" if tls else "redis") + ("" if kind == "single" else f"+{kind}")
    options = _tls_options(values) if tls else {}
    path = ""
    if kind == "sentinel":
        master, _, where = where.partition(",")
        if not where:
            raise VariableError(f"{group}_URL={master} needs the master's name and then sentinels: name,host:port,…")
        path = f"/{quote(master, safe='')}"
        options["sentinel_auth"] = values[f"{group}_SENTINEL_AUTH"]
    query = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in options.items() if value)
    return f"{scheme}://{secret}{where}{path}" + (f"?{query}" if query else "")


def _tls_options(values: Mapping[str, str]) -> dict[str, str]:
    return {
        "ssl_ca_certs": values["REDIS_TLS_CACERT"],
        "ssl_certfile": values["REDIS_TLS_CLIENT_CERT"],
        "ssl_keyfile": values["REDIS_TLS_CLIENT_KEY"],
        "ssl_check_hostname": "false" if _flag(values, "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION") else "",
    }


def _seconds_text(values: Mapping[str, str], name: str) -> str:
    try:
        return f"{parse_duration(values[name]):.9g}"
    except ValueError:
        raise VariableError(f"{name}={values[name]} is no duration, like 150us or 1m30s") from None


_DURATION_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|m|s|us|µs|ns)")


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: `0`, `150us`, `1m30s`. Raises ValueError."""
    if text == "0":
        return 0.0
    total, position = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _DURATION_UNITS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"{text!r} is no duration")
    return total


def _plain(value: str) -> str:
    lowered = value.lower()
    return "true" if lowered in _TRUE else "false" if lowered in _FALSE else lowered


def _flag(values: Mapping[str, str], name: str) -> bool:
    plain = _plain(values[name])
    if plain not in ("true", "false"):
        raise VariableError(f"{name}={values[name]} is neither true nor false")
    return plain == "true"
