#!/usr/bin/env python3
"""Uses the page of `lacuna serve` as a person does, in headless Chromium.

    page.py http://127.0.0.1:8080 FOLDER

Writes pictures into FOLDER; exit code 1 when something is wrong. Needs chromium and the package
websocket-client.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

ATTACK = "<img src=x onerror=\"document.title='attacked'\">"


class Browser:
    """One tab, by the DevTools protocol."""

    def __init__(self, width, height, dark):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-port=0", f"--user-data-dir={self.profile.name}",
             f"--window-size={width},{height}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = pathlib.Path(self.profile.name) / "DevToolsActivePort"
        for _ in range(600):
            if port_file.exists() and port_file.read_text().count("\n"):
                break
            time.sleep(0.1)
        port = port_file.read_text().split("\n")[0]
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        target = next(tab for tab in tabs if tab["type"] == "page")
        self.socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=120,
                                                  suppress_origin=True)
        self.number = 0
        self.complaints = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"])[:400])
            if message.get("id") == self.number:
                return message.get("result", message)

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description"))
        return result["result"].get("value")

    def wait(self, script, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(script):
                return
            time.sleep(0.02)
        raise RuntimeError(f"never: {script}")

    def click(self, selector):
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector, text):
        self.run(f"(e => {{ e.value = {json.dumps(text)}; e.dispatchEvent(new Event('input')); }})"
                 f"(document.querySelector({json.dumps(selector)}))")

    def picture(self, path):
        self.run("window.scrollTo(0, 0)")
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(data["data"]))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def check(holds, what):
    print("ok  " if holds else "FAIL", what)
    return 0 if holds else 1


def visit(browser, url):
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState === 'complete' && document.getElementById('model').textContent.length > 3")


def generate(browser, picture=None):
    browser.click("#go")
    if picture:
        browser.wait("document.querySelectorAll('#canvas .filled').length > 12 || document.getElementById('stop').disabled")
        browser.picture(picture)
    browser.wait("document.getElementById('stop').disabled")
    return browser.run("document.getElementById('error').hidden ? '' : document.getElementById('error').textContent")


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    faults = 0
    browser = Browser(900, 760, dark=False)
    visit(browser, url)
    causal = "autoregressive" in browser.run("document.getElementById('model').textContent")
    browser.type("#prompt", "And it came to pass")
    browser.type("#length", "96")
    browser.type("#seed", "4")
    error = generate(browser, folder / "halfway.png")
    faults += check(not error, "continues a text" + (": " + error if error else ""))
    faults += check("tokens/s" in browser.run("document.getElementById('status').textContent"), "tells tokens per second")
    faults += check(browser.run("document.querySelectorAll('#canvas .masked').length") == 0, "no token is masked in the end")
    time.sleep(0.5)  # colours change slowly
    browser.picture(folder / "done.png")
    browser.run("(s => { s.value = 10; s.dispatchEvent(new Event('input')); })(document.getElementById('slider'))")
    masked = browser.run("document.querySelectorAll('#canvas .masked').length")
    faults += check(causal or masked > 0, f"the slider goes back to pass 10 ({masked} tokens masked)")
    browser.run("document.querySelector('input[value=confidence]').click()")
    browser.run("(s => { s.value = s.max; s.dispatchEvent(new Event('input')); })(document.getElementById('slider'))")
    browser.run("document.getElementById('canvas').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
    faults += check("Token 1" in browser.run("document.getElementById('token').textContent"), "tokens are reached by keys")
    browser.picture(folder / "confidence.png")
    browser.type("#prompt", ATTACK)
    browser.type("#length", "16")
    generate(browser)
    faults += check(browser.run("document.querySelectorAll('#canvas img').length") == 0 and
                    browser.run("document.title") != "attacked" and
                    ATTACK in browser.run("document.getElementById('canvas').textContent"),
                    "markup in a prompt stays text")
    if not browser.run("document.getElementById('text').disabled"):
        browser.click("#tab-fill")
        browser.type("#text", "In the beginning God made the heaven and the earth.")
        browser.run("document.getElementById('text').setSelectionRange(20, 37)")
        browser.click("#mark")
        browser.wait("document.getElementById('text').value.includes('{gap:')")
        faults += check(not generate(browser), "fills a gap made of selected words")
        browser.picture(folder / "gap.png")
    if not browser.run("document.getElementById('message').disabled"):
        browser.click("#tab-chat")
        browser.type("#message", "Who was Moses?")
        faults += check(not generate(browser), "chats")
        browser.picture(folder / "chat.png")
    browser.type("#length", "1000000")
    browser.click("#tab-write")
    faults += check("tokens" in generate(browser), "says what is wrong")
    refused = [c for c in browser.complaints if "status of 400" not in c and '"verbose"' not in c]
    faults += check(not refused, "no complaint of the browser" + "".join("\n      " + c for c in refused))
    browser.close()
    phone = Browser(360, 740, dark=True)
    visit(phone, url)
    phone.type("#prompt", "And it came to pass")
    phone.type("#length", "48")
    generate(phone)
    phone.run("document.querySelector('details').open = true")
    faults += check(phone.run("document.documentElement.scrollWidth") <= 360, "fits a phone's width")
    phone.picture(folder / "phone.png")
    phone.close()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
