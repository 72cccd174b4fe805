"""Debian's chromium, headless, driven by its DevTools protocol over a pipe: no driver, no web socket, no port.

A page here is a tab with its own viewport and colour scheme. What it asked for from the network and what it complained
of is kept, since both are what a test of a page must look at.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.waiting import wait_until

VARIABLE = "HEADGATE_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CALL_SECONDS_MAX = 30.0
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # tests run as root in containers; the only pages it opens are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class ChromiumMissingError(Exception):
    """There is no browser to drive; the text says how to get one."""


def find_chromium() -> str:
    """Its binary: what `HEADGATE_TEST_CHROMIUM` names, or the first of the usual names in PATH."""
    named = os.environ.get(VARIABLE)
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ChromiumMissingError(
            f"no chromium to drive: `apt-get install chromium` (Debian), or set {VARIABLE} to the binary of one"
        )
    return found


class Chromium:
    """A running browser; `open` makes pages."""

    def __init__(self, directory: Path) -> None:
        profile = directory / "profile"
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        # the protocol's pipe is file 3 to read and file 4 to write
        program = f'exec "$@" 3<&{theirs} 4>&{answers}'
        with (directory / "chromium.stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", program, "chromium", find_chromium(), *FLAGS, f"--user-data-dir={profile}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(theirs, answers),
                start_new_session=True,
            )
        os.close(theirs)
        os.close(answers)
        self._directory = directory
        self._read = bytearray()
        self._calls = 0
        self.pages: dict[str, Page] = {}

    def open(self, url: str, **viewport: Any) -> "Page":
        """A page at `url`; arguments as of `Page.view`."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.view(**viewport)
        page.go(url)
        return page

    def call(self, method: str, parameters: Mapping[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """One call of the protocol and its result; events that come meanwhile go to their pages."""
        self._calls += 1
        number = self._calls
        message = {"id": number, "method": method, "params": dict(parameters or {})}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        deadline = time.monotonic() + CALL_SECONDS_MAX
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def listen(self, seconds: float) -> None:
        """Takes the events of the next moment."""
        deadline = time.monotonic() + seconds
        while self._ready(deadline):
            self._receive(deadline + CALL_SECONDS_MAX, "events")

    def _ready(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        return b"\0" in self._read or (left > 0 and bool(select.select([self._from], [], [], left)[0]))

    def _receive(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            if not self._ready(deadline):
                raise TimeoutError(f"chromium did not answer {what}")
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                errors = (self._directory / "chromium.stderr").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"chromium ended: {errors}")
            self._read += chunk
        text, _, rest = self._read.partition(b"\0")
        self._read = bytearray(rest)
        message: dict[str, Any] = json.loads(text)
        page = self.pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.happened(message["method"], message["params"])
        return message

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for end in (self._to, self._from):
            os.close(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Page:
    """One tab. `requested` are the URLs it asked for, `complaints` what its console and its scripts said."""

    def __init__(self, browser: Chromium, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def close(self) -> None:
        """Closes the tab, and with it its connections: a browser has six for one address."""
        self._browser.pages.pop(self._session)
        self._browser.call("Target.closeTarget", {"targetId": self._target})

    def happened(self, method: str, parameters: Mapping[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(parameters["args"])[:500])
            case _:
                pass

    def go(self, url: str) -> None:
        """Opens it, and waits until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        wait_until(self._has_loaded, f"{url} to load")

    def _has_loaded(self) -> bool:
        self._browser.listen(0.02)
        return self._loaded

    def view(self, width: int = 1280, height: int = 900, *, scheme: str = "light", phone: bool = False) -> None:
        """The size of the viewport in CSS pixels, and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The value of an expression once it is true."""
        try:
            return wait_until(lambda: self._polled(expression), expression)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the page says:\n{self.text()}\n{self.complaints}") from None

    def _polled(self, expression: str) -> Any:
        self._browser.listen(0.05)
        return self.evaluate(expression)

    def text(self, selector: str = "body") -> str:
        """What can be read of the first element."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def press(self, key: str) -> None:
        """A key, as a keyboard sends it."""
        codes = {"Enter": 13, "Tab": 9, " ": 32}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        common = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """A PNG of the viewport, or of the whole page."""
        clip: dict[str, Any] = {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))
