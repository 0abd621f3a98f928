"""A headless Chromium, driven over its own protocol through a pair of pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ("Browser", "Page", "browser")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *(
        "--remote-debugging-pipe",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--window-size=1200,800",
    ),
)


@dataclass
class Browser:
    """The process, and what it is told and tells: JSON messages that end with a zero byte."""

    _out: int
    _in: int
    _rest: bytes = b""
    _number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._receive()
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result
            self.events.append(told)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 16)
            assert more, "the browser went away"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(text)
        return told

    def open(self, path: Path) -> Page:
        """Open a file as a page of its own, and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=path.as_uri())
        loaded = "new Promise(go => document.readyState === 'complete' ? go() : onload = go)"
        page.evaluate(f"{loaded}.then(() => true)")
        return page


@dataclass
class Page:
    """One page."""

    browser: Browser
    session: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return self.browser.call(method, self.session, **params)

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript comes to; it must not throw."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click into the middle of an element as a mouse does."""
        box = self.evaluate(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        place = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, key: str) -> None:
        """Press a key, and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        code = {"Enter": 13, "Escape": 27}.get(key, 0)
        more = {"text": "\r"} if key == "Enter" else text
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def complaints(self) -> list[dict[str, Any]]:
        """Return what the page wrote to its console, and what it failed at."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self._events() if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Return what the page asked any network or disk for, itself included."""
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def screenshot(self) -> str:
        """Return a picture of the page, a PNG in base64."""
        data: str = self.call("Page.captureScreenshot")["data"]
        return data

    def _events(self) -> list[dict[str, Any]]:
        return [one for one in self.browser.events if one.get("sessionId") == self.session]


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no browser is here: apt-get install chromium")
    told, telling = os.pipe()
    asked, asking = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        # The browser reads from its descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{told} 4>&{asking}'
        process = subprocess.Popen(
            ["bash", "-c", script, program, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(told, asking),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(told)
        os.close(asking)
        try:
            running = Browser(telling, asked)
            yield running
            running.call("Browser.close")
        finally:
            os.close(telling)
            os.close(asked)
            process.wait()
