# Has Chromium read pages, each in light, dark and print, wide and narrow, and says of each what is wrong with it.
#
# Standard input: a JSON list of pages, [{"name": …, "html": …}]. Standard output: a JSON list, for each page
# {"problems": […], "elements": number, "outline": […], "load_ms": number}. Into the directory $KVMNET_SCREENSHOTS, if it
# is set, go pictures of those that have a name. The browser is spoken to over pipes in the Chrome DevTools protocol: there is no port, and its
# network namespace has no device that is up.
import base64
import fcntl
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile

WIDTHS = [1280, 400]
DEADLINE = 60

OUTLINE = """[...document.querySelectorAll('*')].map(e => [e.localName, ...[...e.attributes].map(a => a.name)].join(' '))"""
FOREIGN = """[...document.querySelectorAll('[href],[src],[action],[data],[srcset],[style]')]
  .flatMap(e => [...e.attributes]).filter(a => ['href', 'src', 'action', 'data', 'srcset', 'style'].includes(a.name))
  .map(a => a.name + '=' + a.value).filter(text => !text.startsWith('href=#'))"""
DEAD_LINKS = """[...document.querySelectorAll('a[href^="#"],[popovertarget],[aria-labelledby]')].flatMap(e =>
  [e.getAttribute('href')?.slice(1), e.getAttribute('popovertarget'), e.getAttribute('aria-labelledby')])
  .filter(id => id && document.querySelectorAll('[id="' + CSS.escape(id) + '"]').length != 1)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SHOWN = "[...document.querySelectorAll(':popover-open')].map(e => e.id + '\\n' + e.innerText).join('\\n')"
UNNAMED = """[...document.querySelectorAll('button,a,summary,[role=region],section')]
  .filter(e => !(e.innerText || e.textContent || e.ariaLabel || '').trim()).map(e => e.outerHTML)"""
HIDDEN = """[...document.querySelectorAll('details > :not(summary), .printed')]
  .filter(e => !e.closest('.close,.copy,.hint,.words,.claims:not(.printed)') && !e.checkVisibility()).map(e => e.outerHTML.slice(0, 200))"""


class Browser:
    def __init__(self, directory):
        reads, self.to = os.pipe()
        self.of, writes = os.pipe()

        # The browser reads commands from 3 and writes to 4, whatever the pipes' own numbers are.
        def place():
            own = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (reads, writes)]
            os.dup2(own[0], 3)
            os.dup2(own[1], 4)

        self.said = open(directory / "stderr", "w+b")
        self.process = subprocess.Popen(
            ["/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-background-networking", f"--user-data-dir={directory / 'profile'}",
             "--remote-debugging-pipe"],
            close_fds=False, preexec_fn=place, stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said)
        os.close(reads)
        os.close(writes)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.of], [], [], DEADLINE)
            more = os.read(self.of, 1 << 20) if ready else b""
            if not more:
                self.said.seek(0)
                sys.exit("chromium says nothing more: " + self.said.read().decode(errors="replace")[-2000:])
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        left = json.dumps(command).encode() + b"\0"
        while left:
            left = left[os.write(self.to, left):]
        while (message := self.message()).get("id") != self.number:
            self.events.append(message)
        if "error" in message:
            sys.exit(f"{method}: {message['error']}")
        return message["result"]

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.message())

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def load(self, url, width):
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def media(self, media, scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def key(self, key, text=""):
        code = {"Enter": 13, " ": 32, "Escape": 27}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "",
                      code={" ": "Space"}.get(key, key), windowsVirtualKeyCode=code)

    def click(self, selector):
        place = self.js(f"""(() => {{ const e = document.querySelector('{selector}');
            e.scrollIntoView({{block: 'center', inline: 'center'}}); const box = e.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2] }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def picture(self, path, whole=False):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    # What the browser complained of, and what the page asked for besides itself.
    def complaints(self, url):
        found = []
        for event in self.events:
            method, said = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append("exception: " + json.dumps(said["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled":
                found.append("console: " + json.dumps(said["args"]))
            elif method == "Log.entryAdded":
                found.append("log: " + json.dumps(said["entry"]))
            elif method == "Network.requestWillBeSent" and said["request"]["url"] != url:
                found.append("request: " + said["request"]["url"])
            elif method == "Page.javascriptDialogOpening":
                sys.exit("a dialog: " + said["message"])
        return found

    def close(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait(DEADLINE)


def cells(browser, how):
    """That a word of the matrix opens its claims, by mouse and by keys."""
    button = ".matrix button.bad, .matrix button.warn, .matrix button.good"
    if not browser.js(f"!!document.querySelector('{button}')"):
        return []
    found = []
    wanted = browser.js(f"document.querySelector('{button}').getAttribute('popovertarget')")
    ways = {"a click": lambda: browser.click(button), "Enter": lambda: browser.key("Enter", "\r"),
            "Space": lambda: browser.key(" ", " ")}
    for way, open_by in ways.items():
        browser.js(f"document.querySelector('{button}').focus()")
        open_by()
        shown = browser.js(SHOWN)
        if not shown.startswith(wanted + "\n") or "proof" not in shown or "wire" not in shown:
            found.append(f"{how}: {way} shows {shown!r}")
        browser.key("Escape")
        if browser.js(SHOWN):
            found.append(f"{how}: Escape after {way} closes nothing")
    return found


def read(browser, page, directory, pictures):
    path = directory / "page.html"
    path.write_text(page["html"])
    url = path.as_uri()
    problems = []
    for width in WIDTHS:
        browser.media("screen", "light")
        browser.load(url, width)
        facts = {"elements": browser.js("document.querySelectorAll('*').length"), "outline": browser.js(OUTLINE)}
        facts["load_ms"] = browser.js("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart")
        for name, question in (("foreign", FOREIGN), ("dead link", DEAD_LINKS), ("unnamed", UNNAMED)):
            problems += [f"{name}: {found}" for found in browser.js(question)]
        problems += cells(browser, f"{width} px")
        if (over := browser.js(OVERFLOW)) > 0:
            problems.append(f"{width} px: {over} px too wide")
        browser.js("scrollTo(0, 0)")
        pictured = pictures and page["name"]
        for media, scheme in (("screen", "light"), ("screen", "dark"), ("print", "light")):
            browser.media(media, scheme)
            if media == "print" and (hidden := browser.js(HIDDEN)):
                problems.append(f"{width} px: not printed: {hidden}")
            if pictured:
                name = f"{page['name']}-{width}-{scheme if media == 'screen' else media}"
                browser.picture(pictures / f"{name}.png", whole=True)
        if pictured:
            browser.media("screen", "light")
            if browser.js("!!document.querySelector('.matrix button')"):
                browser.js("document.querySelector('.matrix button.bad, .matrix button').focus()")
                browser.key("Enter", "\r")
                browser.picture(pictures / f"{page['name']}-{width}-claims.png")
        problems += browser.complaints(url)
    # All that matters works without the script.
    browser.media("screen", "light")
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.load(url, WIDTHS[0])
    problems += cells(browser, "without script") + browser.complaints(url)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    return {"problems": problems, **facts}


def main():
    pages = json.load(sys.stdin)
    pictures = os.environ.get("KVMNET_SCREENSHOTS")
    pictures = pathlib.Path(pictures) if pictures else None
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        os.environ["HOME"] = str(directory)
        browser = Browser(directory)
        said = [read(browser, page, directory, pictures) for page in pages]
        browser.close()
    print(json.dumps(said))


main()
