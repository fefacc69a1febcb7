"""The suite under a sanitizer: what is left out, with the reason, and what became of each test.

A plugin of pytest, and ``python tests/support/sanitized.py KIND COMMIT RECORD OUTCOMES...``, which counts the
outcomes, and the tests that have none, into the record. A run goes on where it was ended: what has an outcome
is not run again.
"""

import os
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
    "tests/test_hostile.py::test_every_count_of_a_long_replay_follows_from_its_length": "the same",
    "tests/test_race.py": "builds with another sanitizer, and two do not go together",
    "tests/report/test_page_in_browser.py": "a browser shows a page; nothing compiled of ours runs in it",
    "tests/report/test_terminal.py::test_same_text_with_and_without_rich[steps": "minutes of a study that "
    "tests of its own run here",
    "tests/test_docs_figures.py::test_commands_run_and_print_what_the_document_shows": "minutes of commands, "
    "each of which tests of its own run here",
}


def environment():
    """What any environment must hold, else modules that a sanitizer is built into do not load."""
    names = ("LD_PRELOAD", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")
    return {name: os.environ[name] for name in names if name in os.environ}


class Outcomes:
    """Keeps what became of each test as lines of a file, and at the end the processor time of all of it."""

    def __init__(self, path):
        self.path = Path(path).resolve()
        self.known = outcomes(self.path)[0] if self.path.exists() else {}

    def pytest_collection_modifyitems(self, config, items):
        planned, others = [], []
        for item in items:
            if item.nodeid.startswith(tuple(LEFT_OUT)):
                self._add(f"left-out {item.nodeid}")
            elif self.known.get(item.nodeid, "planned") == "planned":
                self._add(f"planned {item.nodeid}")
                planned.append(item)
                continue
            others.append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = planned

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self._add(f"{report.outcome} {report.nodeid}")

    def pytest_sessionfinish(self):
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        self._add(f"seconds {sum(usage.ru_utime + usage.ru_stime for usage in usages):.0f}")

    def _add(self, line):
        with self.path.open("a") as file:
            file.write(line + "\n")


def pytest_addoption(parser):
    parser.addoption("--outcomes", required=True, help="where what became of each test is kept")


def pytest_configure(config):
    config.pluginmanager.register(Outcomes(config.getoption("outcomes")))


def outcomes(*paths):
    """What became of each test, by its name, and the processor seconds of all."""
    found, seconds = {}, 0
    for path in paths:
        for line in Path(path).read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "seconds":
                seconds += int(rest)
            elif found.get(rest) != "failed":
                found[rest] = word
    return found, seconds


def folder(name):
    """The part of the suite that a test belongs to: its folder, or ``tests`` itself."""
    return "/".join(name.partition("::")[0].split("/")[:-1][:2])


def main(kind, commit, record, *paths):
    found, seconds = outcomes(*paths)
    counts = Counter(found.values())
    left_out = {start: sum(name.startswith(start) for name in found) for start in LEFT_OUT}
    facts = {
        "commit": commit,
        "tests": sorted(set(map(folder, found))),
        **{word: counts[word] for word in ("passed", "skipped", "failed")},
        "not_run": counts["planned"],
        "left_out": {start: count for start, count in left_out.items() if count},
        "cpu_seconds": seconds,
    }
    put_run(record, kind, facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
