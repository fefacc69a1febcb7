"""A headless Chromium for tests of the page: real clicks, real keys, no network."""

import json
import shutil
from importlib.util import find_spec

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing():
    """What stands in the way of a browser, or None."""
    if find_spec("selenium") is None:
        return "selenium is not installed (make peers)"
    if CHROMIUM is None or DRIVER is None:
        return "no Chromium with its driver on the path"
    return None


class Browser:
    """One browser; ``open`` shows a page in it."""

    def __init__(self, profile):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.resize(1280, 900)

    def resize(self, width, height):
        """Lay the page out for a window of that many CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme):
        """Tell pages that the system is ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, path):
        """Show a file, and forget what the console said before."""
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())

    def console(self):
        """What the console said since ``open``: errors, refusals by the content policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def run(self, script, *arguments):
        """The value of a script's ``return``."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        """Every element of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def choose(self, selector, text):
        """Choose an option by its text."""
        from selenium.webdriver.support.ui import Select

        Select(self.find(selector)).select_by_visible_text(text)

    def keys(self, *keys):
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def click(self, selector, at=0):
        """Click an element, in the middle of the window, clear of what sticks to its edge."""
        element = self.all(selector)[at]
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        return element

    def hover(self, selector, share=0.5, y=None):
        """Move the mouse to a share of an element's width, and to pixels from its top (or its middle)."""
        from selenium.webdriver import ActionChains

        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        width, height = element.rect["width"], element.rect["height"]
        dx, dy = (share - 0.5) * width, (0 if y is None else y - height / 2)
        ActionChains(self.driver).move_to_element_with_offset(element, round(dx), round(dy)).perform()

    def convert(self, text):
        """Type an address into the page's box and press Enter; return its answer, or its error."""
        box = self.find("#convert-value")
        box.clear()
        box.send_keys(text, "\n")
        error = self.find("#convert-error").text
        if error:
            return {"error": error}
        return {
            "answer": json.loads(self.run("return document.getElementById('convert-out').dataset.answer"))
        }

    def close(self):
        """End the browser."""
        self.driver.quit()
