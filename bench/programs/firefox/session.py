"""One headless Firefox session over its own remote protocol (Marionette).

    python -I -S session.py PROFILE PAGE TURNS SECONDS SCREENSHOT

Starts firefox-esr on PROFILE, loads PAGE?n for n in 0 .. TURNS-1, writes a screenshot, stays open until SECONDS have
passed, and quits. Exits 1 when a page does not load, a content process crashes, or Firefox does not end well. Prints
seconds to the first screenshot on standard error.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time

FIREFOX = "firefox-esr"
LIMIT_S = 60
PREFERENCES = """
user_pref("marionette.port", %d);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("app.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,none");
user_pref("browser.safebrowsing.provider.mozilla.updateURL", "");
user_pref("browser.safebrowsing.provider.google4.updateURL", "");
"""


class Remote:
    """The protocol: LENGTH:JSON, commands as [0, id, name, parameters], answers as [1, id, error, result]."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"session: {FIREFOX} ended with {process.returncode} before it could be driven")
                if time.monotonic() > deadline_s:
                    sys.exit("session: no answer within a minute")
                time.sleep(0.05)
        self._file = self._socket.makefile("rb")
        self._id = 0
        self._receive()

    def _receive(self) -> list:  # type: ignore[type-arg]
        length = b""
        while not length.endswith(b":"):
            byte = self._file.read(1)
            if not byte:
                sys.exit("session: the connection closed")
            length += byte
        return json.loads(self._file.read(int(length[:-1])))  # type: ignore[no-any-return]

    def call(self, name: str, **parameters: object) -> dict:  # type: ignore[type-arg]
        self._id += 1
        text = json.dumps([0, self._id, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        answer = self._receive()
        if answer[2]:
            sys.exit(f"session: {name}: {answer[2].get('message')}")
        return answer[3] or {}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def main() -> int:
    profile, page, turns, seconds, shot = sys.argv[1:]
    begin_s = time.monotonic()
    port = free_port()
    os.makedirs(profile, exist_ok=True)  # noqa: PTH103 - pathlib costs 10 ms of start-up
    with open(profile + "/user.js", "w") as f:  # noqa: PTH123
        f.write(PREFERENCES % port)
    # No names but loopback's are looked up, and nothing is asked for from outside.
    env = {**os.environ, "MOZ_CRASHREPORTER_DISABLE": "1", "HOME": profile, "http_proxy": "http://127.0.0.1:9"}
    with subprocess.Popen(
        [FIREFOX, "--headless", "--no-remote", "--marionette", "--profile", profile, "about:blank"],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as firefox:  # fmt: skip
        try:
            remote = Remote(port, firefox)
            remote.call("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "normal"}})
            for turn in range(int(turns)):
                remote.call("WebDriver:Navigate", url=f"{page}?{turn}")
                title = remote.call("WebDriver:GetTitle")["value"]
                if title != f"page {turn}":
                    sys.exit(f"session: page {turn} says {title!r}")
                if turn == 0:
                    picture = base64.b64decode(remote.call("WebDriver:TakeScreenshot", full=False)["value"])
                    print(f"first screenshot after {time.monotonic() - begin_s:.2f} s", file=sys.stderr)
            with open(shot, "wb") as f:  # noqa: PTH123
                f.write(picture)
            time.sleep(max(0.0, float(seconds) - (time.monotonic() - begin_s)))
            remote.call("Marionette:Quit", flags=["eAttemptQuit"])
            code = firefox.wait(LIMIT_S)
        finally:
            if firefox.poll() is None:
                firefox.kill()
        said = firefox.stderr.read().decode(errors="replace") if firefox.stderr else ""
    if code or "crash" in said.lower():
        sys.exit(f"session: {FIREFOX} ended with {code}: {said[-1500:]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
