"""Services that say whether requests are let in: by HTTP, and by `envoy.service.auth.v3.Authorization`.

Both let in who shows the header `x-pass: yes`, and add who it is as `x-user`.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.type.v3.http_status_pb2 import StatusCode

from support.ports import LOOPBACK

PERMISSION_DENIED: int = grpc.StatusCode.PERMISSION_DENIED.value[0]
METHOD = "/envoy.service.auth.v3.Authorization/Check"
USER = "ann"
JSON_ERROR = b'{"error": {"message": "pay first"}}'


@dataclass(frozen=True)
class Asked:
    """A question: the path of the request and its headers, by lower-case name, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class ExtAuth:
    """Both services, and what they were asked."""

    asked: list[Asked] = field(default_factory=list[Asked])
    http_port: int = 0
    grpc_port: int = 0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked.append(Asked(self.path, headers, self.rfile.read(int(headers.get("content-length", 0)))))
                passed, as_json = headers.get("x-pass"), headers.get("x-pass") == "json"
                body = b"" if passed == "yes" else JSON_ERROR if as_json else b"No pass."
                self.send_response(200 if passed == "yes" else 402 if as_json else 401)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-type", "application/json" if as_json else "text/plain")
                self.send_header("x-user", USER)
                self.send_header("x-other", "kept")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        self.http_port = server.server_port
        asking = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )
        service, _, method = METHOD[1:].partition("/")
        asking.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.grpc_port = asking.add_insecure_port(f"{LOOPBACK}:0")
        asking.start()
        self._stack.callback(lambda: asking.stop(None).wait())
        return self

    def _check(self, request: CheckRequest, _: grpc.ServicerContext) -> CheckResponse:
        http = request.attributes.request.http
        self.asked.append(Asked(http.path, dict(http.headers), http.body.encode() or http.raw_body))
        result = CheckResponse()
        if http.headers.get("x-pass") == "yes":
            option = HeaderValueOption()
            option.header.key, option.header.value = "x-user", USER
            result.ok_response.headers.append(option)
        else:
            result.status.code = PERMISSION_DENIED
            result.denied_response.status.code = StatusCode.Forbidden
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
