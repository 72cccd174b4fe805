"""A real Kubernetes API: started for the run, or the one that KUBECONFIG names, and a small client of it.

Objects are plain dictionaries, as in YAML. `Kube` speaks for one identity; it finds a kind's path by discovery, and
waits out the second or two in which the API server knows a new CRD but does not serve it yet. Errors of the API server
are `ApiError`, with the `Status` it sent.
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import aiohttp
import yaml

from support.waiting import BUSY_SECONDS

TOOLS_VARIABLE = "HEADGATE_TEST_CLUSTER_TOOLS"
MISSING = "needs a Kubernetes API: run `make cluster`, which builds one, or set KUBECONFIG"
CONTROLLERS = ("gc", "namespace", "serviceaccount", "deployment", "endpointslice", "podready")
STOP_SECONDS = 20.0
GARBAGE_PERCENT = "400"
"""By how much an API server's heap grows before Go collects: 0.9 GB in place of 0.7 for a seventh of its CPU time."""
POLL_SECONDS = 0.05
EVENT_BYTES_MAX = 4 << 20
"""A line of a watch is an object; etcd takes no larger ones than 1.5 MiB."""
MANAGER = "headgate-tests"

Object: TypeAlias = dict[str, Any]


def tools_directory() -> Path | None:
    """Where `make cluster` put the test API server, Envoy Gateway and Helm; None outside of it."""
    configured = os.environ.get(TOOLS_VARIABLE)
    return Path(configured) if configured else None


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server as somebody."""

    server: str
    token: str = ""
    ca: str = ""
    """PEM text; empty for a server without TLS."""
    client_certificate: str = ""
    """PEM text of a key and its certificate, for those who have no token."""
    impersonate: str = ""
    impersonate_groups: tuple[str, ...] = ()
    kubeconfig: Path = Path()
    """A file that says the same, without the impersonation."""

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca or None)
        # Test servers' authorities leave out extensions that Python 3.13 asks for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.client_certificate:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # Python reads keys from files only
                file.write(self.client_certificate)
                file.flush()
                context.load_cert_chain(file.name)
        return context


class ApiError(Exception):
    """The API server refused something."""

    def __init__(self, code: int, reason: str, message: str, status: Object) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.status = status

    @property
    def causes(self) -> tuple[tuple[str, str], ...]:
        """Field and message of everything that was wrong with an object."""
        causes: list[Object] = self.status.get("details", {}).get("causes", [])
        return tuple((each.get("field", ""), each.get("message", "")) for each in causes)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: Object


class KubeProcess:
    """The test API server, for as long as the process that started it lives."""

    def __init__(self, directory: Path, *flags: str, controllers: Iterable[str] = CONTROLLERS) -> None:
        tools = tools_directory()
        if tools is None:
            raise RuntimeError(MISSING)
        self._log = directory / "testkube.stderr"
        command = [
            str(tools / "testkube"),
            "--dir",
            str(directory),
            "--controllers",
            ",".join(controllers),
            "--",
            *flags,
        ]
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "GOGC": GARBAGE_PERCENT},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(b"READY "):
            self.close()
            raise RuntimeError(f"the test API server did not start:\n{self.log[-4000:]}")
        ready = json.loads(line.removeprefix(b"READY "))
        self.access = Access(
            server=ready["server"],
            token=ready["token"],
            ca=Path(ready["ca"]).read_text(),
            kubeconfig=Path(ready["kubeconfig"]),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """Stops it (about a second); safe to call twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Kube:
    """A client for one identity. Use as an asynchronous context manager, or through the `kube` fixture."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        headers: list[tuple[str, str]] = []
        if self.access.token:
            headers.append(("Authorization", f"Bearer {self.access.token}"))
        if self.access.impersonate:
            headers.append(("Impersonate-User", self.access.impersonate))
            headers += [("Impersonate-Group", group) for group in self.access.impersonate_groups]
        self._connector = aiohttp.TCPConnector(ssl=self.access.context(), limit=64)
        self._session = aiohttp.ClientSession(
            self.access.server, headers=headers, connector=self._connector, read_bufsize=EVENT_BYTES_MAX
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        assert self._connector is not None
        await self._connector.close(abort_ssl=True)
        await self._session.close()

    def as_user(self, user: str, *groups: str) -> "Kube":
        """A client that the API server takes for somebody else, like `system:serviceaccount:NAMESPACE:NAME`."""
        return Kube(replace(self.access, impersonate=user, impersonate_groups=groups))

    async def service_account_token(self, namespace: str, name: str) -> str:
        """A token of an existing ServiceAccount, as its pod would get it."""
        request: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return (await self.request("POST", path, request))["status"]["token"]

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request; raises ApiError."""
        async with self._send(method, path, body, content_type, query or {}) as response:
            return await response.json(content_type=None)

    @contextlib.asynccontextmanager
    async def _send(
        self, method: str, path: str, body: object, content_type: str, query: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        assert self._session is not None, "use `async with`"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        async with self._session.request(method, path, data=data, headers=headers, params=query) as response:
            if response.status >= 400:
                raise _error(response.status, await response.text())
            try:
                yield response
            finally:
                _abort(response)

    async def create(self, item: Object, *, dry_run: bool = False, strict: bool = True) -> Object:
        """Creates an object; fields that its kind does not have are an error unless `strict` is false."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict" if strict else "Ignore"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._when_served(
            item, lambda path: self.request("POST", path, item, query=query), collection=True
        )

    async def apply(
        self, item: Object, *, manager: str = MANAGER, force: bool = True, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Server-side apply: creates the object or changes what `manager` owns of it."""
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"

        async def send(path: str) -> Object:
            return await self.request(
                "PATCH", path + (f"/{subresource}" if subresource else ""), item,
                content_type="application/apply-patch+yaml", query=query,
            )  # fmt: skip

        return await self._when_served(item, send)

    async def apply_all(self, items: Sequence[Object] | str) -> list[Object]:
        """Applies objects (or YAML text) one after the other."""
        documents = [each for each in yaml.safe_load_all(items) if each] if isinstance(items, str) else items
        return [await self.apply(each) for each in documents]

    async def patch(self, item: Object, change: Object, *, subresource: str = "") -> Object:
        """JSON merge patch of the object that `item` names."""

        async def send(path: str) -> Object:
            target = path + (f"/{subresource}" if subresource else "")
            return await self.request(
                "PATCH", target, change, content_type="application/merge-patch+json", query={"fieldManager": MANAGER}
            )

        return await self._when_served(item, send)

    async def replace(self, item: Object, *, subresource: str = "") -> Object:
        """Update; a stale `metadata.resourceVersion` is a conflict."""
        path = await self.path(item)
        return await self.request("PUT", path + (f"/{subresource}" if subresource else ""), item)

    async def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object:
        return await self.request("GET", await self.path(reference(api_version, kind, name, namespace)))

    async def find(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        try:
            return await self.get(api_version, kind, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, api_version: str, kind: str, namespace: str = "", **query: str) -> list[Object]:
        """Objects of a kind, of all namespaces without one; `labelSelector` and the like as keywords."""
        path = await self.collection(api_version, kind, namespace)
        return (await self.request("GET", path, query=query)).get("items") or []

    async def delete(self, item: Object) -> None:
        """Deletes the object that `item` names, if there is one."""
        try:
            await self.request("DELETE", await self.path(item))
        except ApiError as error:
            if error.code != 404:
                raise

    async def wait_gone(self, item: Object) -> None:
        """Until the object that `item` names is no more; raises TimeoutError."""
        metadata = item["metadata"]
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                path = await self.path(item)
                while True:
                    try:
                        await self.request("GET", path)
                    except ApiError as error:
                        if error.code == 404:
                            return
                        raise
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"{item['kind']} {metadata['name']} stays after {BUSY_SECONDS:g} s") from None

    async def watch(self, api_version: str, kind: str, namespace: str = "", **query: str) -> AsyncGenerator[Event]:
        """Events until the server ends the watch or the caller stops; without a `resourceVersion` it starts with what
        is there. Close it: `async with contextlib.aclosing(kube.watch(…)) as events`."""
        path = await self.collection(api_version, kind, namespace)
        parameters = {"watch": "true", "allowWatchBookmarks": "true", **query}
        async with self._send("GET", path, None, "", parameters) as response:
            async for line in response.content:
                event = json.loads(line)
                yield Event(event["type"], event["object"])

    async def wait_for(
        self,
        item: Object,
        condition: Callable[[Object], bool],
        what: str,
    ) -> Object:
        """The object once `condition` holds of it; raises TimeoutError naming `what`, with the object's last status."""
        metadata = item["metadata"]
        seen: Object | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUSY_SECONDS):
                path = await self.collection(item["apiVersion"], item["kind"], metadata.get("namespace", ""))
                query = {"watch": "true", "fieldSelector": f"metadata.name={metadata['name']}"}
                while True:
                    async with self._send("GET", path, None, "", query) as response:
                        async for line in response.content:
                            event = json.loads(line)
                            if event["type"] == "ERROR":  # a server that is busy ends watches so
                                break
                            seen = event["object"]
                            if seen is not None and condition(seen):
                                return seen
        raise TimeoutError(f"waited {BUSY_SECONDS:g} s for {what}; last seen: {json.dumps((seen or {}).get('status'))}")

    async def path(self, item: Object) -> str:
        """Path of the object that `item` names."""
        metadata = item["metadata"]
        collection = await self.collection(item["apiVersion"], item["kind"], metadata.get("namespace", ""))
        return f"{collection}/{metadata['name']}"

    async def collection(self, api_version: str, kind: str, namespace: str = "") -> str:
        """Path of a kind's objects; waits until the API server serves the kind."""
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                while (known := (await self._discover(api_version)).get(kind)) is None:
                    self._resources.pop(api_version, None)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LookupError(f"the API server does not serve {kind} of {api_version}") from None
        plural, namespaced = known
        scope = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"{_root(api_version)}{scope}/{plural}"

    async def _discover(self, api_version: str) -> dict[str, tuple[str, bool]]:
        if (known := self._resources.get(api_version)) is None:
            try:
                resources: list[Object] = (await self.request("GET", _root(api_version)))["resources"] or []
            except ApiError as error:
                if error.code != 404:
                    raise
                return {}
            known = {each["kind"]: (each["name"], each["namespaced"]) for each in resources if "/" not in each["name"]}
            self._resources[api_version] = known
        return known

    async def _when_served(
        self, item: Object, send: Callable[[str], Awaitable[Object]], *, collection: bool = False
    ) -> Object:
        """Sends to the object's path, and again while a kind that discovery lists answers 404 as if it were none."""
        metadata = item["metadata"]
        path = await self.collection(item["apiVersion"], item["kind"], metadata.get("namespace", ""))
        if not collection:
            path = f"{path}/{metadata['name']}"
        patience = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return await send(path)  # which may take long: a large CRD among many
            except ApiError as error:
                missing_object = error.status.get("details", {}).get("name")
                if error.code != 404 or missing_object:
                    raise
            if time.monotonic() > patience:
                raise LookupError(f"{path} answers 404")
            await asyncio.sleep(POLL_SECONDS)


def _abort(response: aiohttp.ClientResponse) -> None:
    """Ends a watch that is not over, at once: a TLS connection that is closed waits for the server's farewell, and may
    outlive the event loop."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def reference(api_version: str, kind: str, name: str, namespace: str = "") -> Object:
    """The least that names an object."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def condition(item: Object, type_: str) -> Object:
    """A condition of an object's status; empty where there is none."""
    conditions: list[Object] | None = item.get("status", {}).get("conditions")
    found = [each for each in conditions or () if each.get("type") == type_]
    return found[0] if found else {}


def is_true(type_: str) -> Callable[[Object], bool]:
    """For `wait_for`: the condition is True for what the object says now."""

    def holds(item: Object) -> bool:
        found = condition(item, type_)
        generation = item["metadata"].get("generation", 0)
        return found.get("status") == "True" and found.get("observedGeneration", generation) == generation

    return holds


def write_secret(secret: Object, directory: Path) -> None:
    """A file for each of its keys, as a kubelet mounts it."""
    for name, value in secret["data"].items():
        (directory / name).write_bytes(base64.b64decode(value))


def unique_name(prefix: str) -> str:
    """For objects that live in no namespace, and namespaces themselves."""
    return f"{prefix}-{secrets.token_hex(4)}"


async def install_crds(kube: Kube, crds: Sequence[Object]) -> None:
    """Applies CRDs and returns once the API server serves them all."""
    few = asyncio.Semaphore(4)  # it is its CPU that they take, and a request that waits for long is given up

    async def install(crd: Object) -> None:
        async with few:
            await kube.apply(crd)
        await kube.wait_for(crd, is_true("Established"), f"CRD {crd['metadata']['name']}")

    await asyncio.gather(*(install(crd) for crd in crds))
    await crds_served(kube, crds)


async def crds_served(kube: Kube, crds: Sequence[Object]) -> None:
    """Returns once the API server serves these CRDs, which it has."""
    for crd in crds:
        spec = crd["spec"]
        for version in spec["versions"]:
            if version["served"]:
                await kube.collection(f"{spec['group']}/{version['name']}", spec["names"]["kind"])


def read_crds(*paths: Path) -> list[Object]:
    """CRDs of YAML or JSON files; a folder means all files in it."""
    found: list[Object] = []
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        for file in files:
            text = file.read_text()
            documents = json.loads(text) if file.suffix == ".json" else yaml.load_all(text, yaml.CSafeLoader)
            found += [each for each in documents if each]
    return found


def access_from_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig: a token, or a client certificate."""
    config = yaml.safe_load(path.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    ca = _content(cluster, "certificate-authority")
    certificate = _content(user, "client-key") + _content(user, "client-certificate")
    token = user.get("token", "")
    if not token and not certificate and cluster["server"].startswith("https:"):
        raise ValueError(f"{path}: only tokens and client certificates are read; point it at `kubectl proxy` instead")
    return Access(server=cluster["server"], token=token, ca=ca, client_certificate=certificate, kubeconfig=path)


def _named(items: Sequence[Object], name: str) -> Object:
    return next(each for each in items if each["name"] == name)


def _content(holder: Object, field: str) -> str:
    if data := holder.get(f"{field}-data"):
        return base64.b64decode(data).decode()
    return Path(holder[field]).read_text() if field in holder else ""


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _error(code: int, text: str) -> ApiError:
    try:
        status = json.loads(text)
    except ValueError:
        return ApiError(code, "", text[:2000], {})
    return ApiError(code, status.get("reason", ""), status.get("message", ""), status)
