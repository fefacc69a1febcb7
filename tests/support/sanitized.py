"""What ``make asan`` leaves out of the suite, with the reason, and what it counts: a plugin of pytest.

``python tests/support/sanitized.py address|thread COUNTS RECORD`` puts the counts of a run into the record.
"""

import json
import resource
import sys
from collections import Counter
from pathlib import Path

from records import put_run

#: Tests by the start of their names.
LEFT_OUT = {
    "tests/machine/test_state.py::test_no_address_space_is_a_clear_error": "the sanitizer's shadow needs "
    "terabytes of the address space that the test takes away",
    "tests/test_hostile.py::test_512_mib_of_memory_are_enough_or_the_lack_is_told": "the same",
    "tests/test_leaks.py": "what is freed is kept for a while, so that its use is seen: memory is not flat",
    "tests/test_race.py": "builds with another sanitizer, and two do not go together",
    "tests/report/test_page_in_browser.py": "a browser shows a page; nothing compiled of ours runs in it",
}


def folder(name):
    """The part of the suite that a test belongs to: its folder, or ``tests`` itself."""
    return "/".join(name.partition("::")[0].split("/")[:-1][:2])


class Counts:
    """What became of the tests, and the processor time of all of it."""

    def __init__(self, config):
        self.config, self.outcomes, self.left_out, self.folders = config, Counter(), Counter(), set()

    def pytest_collection_modifyitems(self, config, items):
        out = {}
        self.folders = {folder(item.nodeid) for item in items}
        for item in items:
            for start in LEFT_OUT:
                if item.nodeid.startswith(start):
                    out[item.nodeid] = start
        self.left_out.update(out.values())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in out])
        items[:] = [item for item in items if item.nodeid not in out]

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1

    def pytest_sessionfinish(self):
        seconds = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        facts = {
            "tests": sorted(self.folders),
            **{name: self.outcomes[name] for name in ("passed", "skipped", "failed")},
            "left_out": dict(self.left_out),
            "cpu_seconds": round(seconds),
        }
        Path(self.config.getoption("counts")).write_text(json.dumps(facts))


def pytest_addoption(parser):
    parser.addoption("--counts", required=True, help="where the counts are written")


def pytest_configure(config):
    config.pluginmanager.register(Counts(config))


def main(kind, counts, record):
    facts = json.loads(Path(counts).read_text())
    put_run(record, f"{kind}: {' '.join(facts['tests'])}", facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
