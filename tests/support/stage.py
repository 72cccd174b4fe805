"""One running gateway with fake providers behind it, shared by the tests of a module.

>>> with Stage(openai=Provider(OPENAI, key="sk-o")) as stage:
...     stage.run(lambda port: [...documents...])
...     stage.openai.chat.completions.create(...)
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anthropic
import httpx
import openai

from support.gateway import Gateway
from support.manifests import Document, text
from support.ports import free_port
from support.providers import Provider
from support.waiting import wait_until

CLIENT_KEY = "client-key"
"""What the official clients send by default; it must reach no provider."""
TIMEOUT_SECONDS = 30.0


class Stage:
    """Providers by name, a gateway, and clients. `check` after each test tells what providers refused."""

    def __init__(self, **providers: Provider) -> None:
        self.providers = providers
        self.port = free_port()
        self._stack = ExitStack()
        self._gateway: Gateway | None = None
        self._seen = 0
        self.http = self._stack.enter_context(httpx.Client(timeout=TIMEOUT_SECONDS))
        for provider in providers.values():
            self._stack.enter_context(provider)

    def __getitem__(self, name: str) -> Provider:
        return self.providers[name]

    def run(
        self,
        documents: Iterable[Document] | str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Starts `headgate run` with the documents (or YAML text), which must listen on `self.port`."""
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-")))
        config = documents if isinstance(documents, str) else text(documents)
        self.access_log_path = directory / "access.log"
        self._gateway = self._stack.enter_context(
            Gateway(
                config,
                directory,
                "--access-log",
                str(self.access_log_path),
                "--drain-seconds",
                "0",
                *arguments,
                environment=environment,
            )
        )
        return self

    @property
    def gateway(self) -> Gateway:
        assert self._gateway is not None, "run() comes first"
        return self._gateway

    @property
    def url(self) -> str:
        return self.gateway.url

    # --- clients

    def openai(self, **options: Any) -> openai.OpenAI:
        """A stock client that does not retry; closed with the stage."""
        options = {"base_url": f"{self.url}/v1", "api_key": CLIENT_KEY, "max_retries": 0, **options}
        return self._stack.enter_context(openai.OpenAI(**options))

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        """A stock client that does not retry; closed with the stage."""
        options = {"base_url": self.url, "api_key": CLIENT_KEY, "max_retries": 0, **options}
        return self._stack.enter_context(anthropic.Anthropic(**options))

    def post(self, path: str, body: Any = None, *, content: bytes | None = None, **headers: str) -> httpx.Response:
        """A POST of a JSON value (or of `content`); `_` in header names is `-`."""
        sent = {"content-type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
        data = content if content is not None else json.dumps(body).encode()
        return self.http.post(self.url + path, content=data, headers=sent)

    def chat(self, model: str, *, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        """A small chat request, as an OpenAI client would send it."""
        return self.post(path, {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **more})

    def messages(self, model: str, *, path: str = "/v1/messages", **more: Any) -> httpx.Response:
        """A small messages request, as an Anthropic client would send it."""
        body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}], **more}
        return self.post(path, body, anthropic_version="2023-06-01")

    # --- what can be seen from outside

    def stat(self, metric: str, **labels: str) -> float:
        """The sum of an Envoy metric over the series that have these labels; 0 where there is none."""
        total = 0.0
        admin = self.gateway.wait_output(r"admin +(http://\S+)").group(1)
        for line in self.http.get(f"{admin}/metrics").text.splitlines():
            found = re.fullmatch(rf"{metric}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{name}="{value}"' in (found[1] or "") for name, value in labels.items()):
                total += float(found[2])
        return total

    def calls(self, cluster: str) -> int:
        """Requests that Envoy sent to a cluster, whoever answered."""
        return int(self.stat("envoy_cluster_upstream_rq_total", envoy_cluster_name=cluster))

    def access(
        self, wanted: Callable[[Mapping[str, Any]], bool], count: int = 1, *, attempts: bool = False
    ) -> list[dict[str, Any]]:
        """The access log's lines that are wanted, once there are `count` (Envoy writes them out every second).

        Lines of attempts that failed are not among them, unless `attempts` asks for them alone.
        """

        def found() -> list[dict[str, Any]] | None:
            lines = self.access_log_path.read_text().splitlines() if self.access_log_path.exists() else []
            known = [json.loads(line) for line in lines if line.endswith("}")]
            entries = [entry for entry in known if ("attempt" in entry) is attempts and wanted(entry)]
            return entries if len(entries) >= count else None

        return wait_until(found, f"{count} lines of the access log")

    # --- between tests

    def forget(self) -> None:
        """Providers forget requests and scripts."""
        for provider in self.providers.values():
            provider.forget()

    def check(self) -> None:
        """Providers must have accepted every request; the gateway must have logged no failure of its own."""
        problems = {name: provider.problems for name, provider in self.providers.items() if provider.problems}
        logged = self.gateway.child.stderr[self._seen :]
        self._seen += len(logged)
        self.forget()
        assert not problems, "providers refused requests"
        assert "child_died" not in logged, logged
        assert "session_crashed" not in logged, logged
        assert ".lua:" not in logged, logged

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
