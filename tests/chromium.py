"""Debian's chromium, driven as a person would: DevTools' protocol over a pipe, no further package.

    with Browser(tmp_path) as browser:
        page = browser.open(url)
        page.click("#next")
        assert page.run("document.title") == "..."

Conventions: sizes and positions are in CSS pixels, times in seconds. Files that a page saves land
in `browser.downloads`."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
"""Seconds that an answer, or a wish of a test, may take on a busy machine."""
READ_FD, WRITE_FD = 3, 4
"""Where chromium reads commands and writes answers."""
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
KEY_CODES = {
    "Enter": 13,
    "Escape": 27,
    " ": 32,
    "End": 35,
    "Home": 36,
    "PageUp": 33,
    "PageDown": 34,
}
KEY_CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}


def find_chromium() -> str | None:
    """Return the path of chromium, None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One chromium with a profile of its own in `folder`."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 800) -> None:
        self.size = (width, height)
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True, exist_ok=True)
        program = find_chromium()
        if program is None:
            raise FileNotFoundError("chromium is not installed (apt-get install chromium)")
        arguments = [program, *FLAGS, f"--window-size={width},{height}"]
        arguments += [f"--user-data-dir={folder / 'profile'}", "about:blank"]
        commands, self.commands = _pipe()
        self.answers, answers = _pipe()
        quiet = os.open(os.devnull, os.O_RDWR)
        self.process = os.posix_spawn(
            program,
            arguments,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, quiet, 1),
                (os.POSIX_SPAWN_DUP2, quiet, 2),
                (os.POSIX_SPAWN_DUP2, commands, READ_FD),
                (os.POSIX_SPAWN_DUP2, answers, WRITE_FD),
            ],
            setpgroup=0,
        )
        for descriptor in (commands, answers, quiet):
            os.close(descriptor)
        self.received = b""
        self.last_id = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End chromium and all its processes."""
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.commands)
        os.close(self.answers)

    def open(self, url: str) -> Page:
        """Open a page and wait until it is loaded."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})
        self.send(
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(self.downloads)},
        )
        page = Page(self, attached["sessionId"])
        page.send("Page.enable")
        page.send("Runtime.enable")
        page.resize(*self.size)
        page.go(url)
        return page

    def send(self, method: str, params: Any = None, session: str | None = None) -> dict[str, Any]:
        """Return the answer to one command; RuntimeError with what chromium says is wrong."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self.last_id:
                break
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"chromium did not answer within {PATIENCE} s")
            piece = os.read(self.answers, 1 << 20)
            if not piece:
                raise RuntimeError("chromium ended")
            self.received += piece
        message, self.received = self.received.split(b"\0", 1)
        document: dict[str, Any] = json.loads(message)
        return document


class Page:
    """One tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    def send(self, method: str, params: Any = None) -> dict[str, Any]:
        """Return the answer to a command for this tab."""
        return self.browser.send(method, params, self.session)

    def go(self, url: str) -> None:
        """Open another address, and wait until it is loaded."""
        self.send("Page.navigate", {"url": "about:blank"})
        self.send("Page.navigate", {"url": url})
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int, *, ratio: float = 1.0) -> None:
        """Take another size; below 500 pixels it behaves like a phone's screen."""
        size = {"width": width, "height": height, "deviceScaleFactor": ratio}
        self.send("Emulation.setDeviceMetricsOverride", size | {"mobile": width < 500})

    def prefer(self, scheme: str) -> None:
        """Ask for "light" or "dark", as the system's settings would."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", {"features": [feature]})

    def run(self, expression: str) -> Any:
        """Return the value of JavaScript, awaited; RuntimeError where it throws."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.send("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Return the value of JavaScript as soon as it is true; AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.run(expression)
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {seconds} s: {expression}"
            time.sleep(0.03)

    def errors(self) -> list[str]:
        """Texts of the errors that scripts threw since the browser was started."""
        texts = []
        for event in self.browser.events:
            if event.get("method") == "Runtime.exceptionThrown":
                details = event["params"]["exceptionDetails"]
                texts.append(details.get("exception", {}).get("description", details["text"]))
        return texts

    def middle(self, selector: str) -> tuple[float, float]:
        """(x, y) of the middle of an element, scrolled into sight."""
        x, y = self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            " element.scrollIntoView({block: 'nearest'});"
            " const box = element.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send one event: "mouseMoved", "mousePressed", "mouseReleased" or "mouseWheel"."""
        self.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        self.click_at(*self.middle(selector))

    def click_at(self, x: float, y: float) -> None:
        """Click on a point."""
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], keys: int = 0) -> None:
        """Press at `start`, move to `end` in steps, release; `keys`: a sum of MODIFIERS."""
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", clickCount=1, modifiers=keys)
        for share in (0.25, 0.5, 0.75, 1.0):
            x = start[0] + share * (end[0] - start[0])
            y = start[1] + share * (end[1] - start[1])
            self.mouse("mouseMoved", x, y, button="left", buttons=1, modifiers=keys)
        self.mouse("mouseReleased", *end, button="left", clickCount=1, modifiers=keys)

    def press(self, key: str, *modifiers: str) -> None:
        """Press and release a key, as KeyboardEvent.key calls it."""
        event: dict[str, Any] = {
            "key": key,
            "modifiers": sum(MODIFIERS[name] for name in modifiers),
        }
        event["windowsVirtualKeyCode"] = KEY_CODES.get(key, 0)
        if key == "Enter":
            event["text"] = "\r"
        elif len(key) == 1:
            event["text"] = key
        self.send("Input.dispatchKeyEvent", event | {"type": "keyDown"})
        event.pop("text", None)
        self.send("Input.dispatchKeyEvent", event | {"type": "keyUp"})

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        for sign in text:
            self.press(sign)

    def screenshot(self, path: Path) -> None:
        """Save what is seen as a PNG."""
        picture = self.send("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(picture))

    def download(self, name: str, seconds: float = PATIENCE) -> Path:
        """Return the path of a file that the page saves, once it is whole."""
        path = self.browser.downloads / name
        deadline = time.monotonic() + seconds
        while not path.is_file() or any(self.browser.downloads.glob("*.crdownload")):
            assert time.monotonic() < deadline, f"{name} was not saved within {seconds} s"
            time.sleep(0.03)
        return path


def _pipe() -> tuple[int, int]:
    """(read, write) descriptors above those that chromium uses."""
    high = []
    for descriptor in os.pipe():
        high.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(descriptor)
    return high[0], high[1]
