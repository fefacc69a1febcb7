"""The report's page in headless Chromium: its size, the time to make it, to first paint, and to answer.

    python benchmarks/bench_page.py [--loads 15] [--json benchmarks/records/page.json]

For a map of 2,000 ranges, one of 32 nodes and a small one: bytes; seconds of CPU to boot every profile, and
to set the page; milliseconds from navigation to the first paint and to the end of the page's own script, by
the browser's Performance API, each load in a fresh tab; of one step of the zoom, and of one conversion.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import browser as support  # noqa: E402
from bench_timing import processor  # noqa: E402
from page_maps import two_thousand_ranges  # noqa: E402

import xenmm  # noqa: E402
from xenmm.report.html import report_page  # noqa: E402
from xenmm.report.inputs import Input, load  # noqa: E402
from xenmm.report.overhead import make_report  # noqa: E402

SCHEMA = "xenmm-bench-page/1"
#: What the project asks of the largest page.
TARGETS = {"bytes": 2_000_000, "first_paint_ms": 1000}

_PAINT = """
const done = arguments[0];
const told = () => {
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  const page = performance.getEntriesByType('navigation')[0];
  if (paint && page.loadEventEnd) done([paint.startTime, page.domContentLoadedEventStart]);
  else setTimeout(told, 20);
};
told();
"""
_ZOOM = """
const zoom = document.getElementById('zoom-in'), all = document.getElementById('zoom-all');
const start = performance.now();
for (let i = 0; i < 10; i++) { all.click(); zoom.click(); }
return (performance.now() - start) / 20;
"""
_CONVERT = """
const box = document.getElementById('convert-value'), start = performance.now();
for (let i = 0; i < 100; i++) { box.value = 'mfn:' + (1000 + i); box.dispatchEvent(new Event('input')); }
return (performance.now() - start) / 100;
"""


def cpu(work):
    """What the work returns, and its seconds of this process's CPU time."""
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def measure(browser, folder, memory_map, given, loads):
    """Every figure of one map's page."""
    report, boot_s = cpu(lambda: make_report(memory_map, given))
    text, page_s = cpu(lambda: report_page(report))
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    paints, ready = [], []
    for _ in range(loads):
        browser.driver.switch_to.new_window("tab")
        browser.open(path)
        paint, content = browser.driver.execute_async_script(_PAINT)
        paints.append(paint)
        ready.append(content)
    return {
        "ranges": len(memory_map.ram),
        "bytes": len(text.encode()),
        "boot_cpu_s": round(boot_s, 3),
        "page_cpu_s": round(page_s, 3),
        "first_paint_ms": _summary(paints),
        "script_done_ms": _summary(ready),
        "zoom_step_ms": round(browser.run(_ZOOM), 2),
        "convert_ms": round(browser.run(_CONVERT), 3),
    }


def _summary(values):
    return {
        "least": round(min(values), 1),
        "median": round(statistics.median(values), 1),
        "most": round(max(values), 1),
    }


def main():
    """Measure, print a line a page, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loads", type=int, default=15, help="loads of each page (default: 15)")
    parser.add_argument("--json", metavar="DEST", help="write the record to this file")
    args = parser.parse_args()
    if support.missing():
        sys.exit(f"bench_page: {support.missing()}")
    with tempfile.TemporaryDirectory() as folder:
        browser = support.Browser(Path(folder) / "profile")
        version = browser.driver.capabilities["browserVersion"]
        try:
            large = two_thousand_ranges(), Input("generated", None, None, False, {})
            inputs = {"2,000 ranges": large} | {
                name: load(name) for name in ("dell-r7625-bergamo-32node", "taishan200-4node")
            }
            pages = {
                name: measure(browser, Path(folder), *given, args.loads) for name, given in inputs.items()
            }
        finally:
            browser.close()
    for name, page in pages.items():
        paint = page["first_paint_ms"]
        print(
            f"{name}: {page['bytes']:,} bytes; first paint {paint['least']:.0f} to {paint['most']:.0f} ms,"
            f" median {paint['median']:.0f}; zoom {page['zoom_step_ms']} ms,"
            f" conversion {page['convert_ms']} ms; made in {page['boot_cpu_s'] + page['page_cpu_s']:.2f} s"
        )
    if args.json:
        record = {
            "schema": SCHEMA,
            "xenmm": xenmm.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "processor": processor(),
            "chromium": version,
            "loads": args.loads,
            "targets": TARGETS,
            "pages": pages,
        }
        Path(args.json).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
