"""``make torture``: every capability against the slow models, for as long as asked.

    python tests/support/torture.py --seconds 600 [--seed N] [--first N] [--only boot machine] [--json FILE]

Case number n of a seed is always the same case, so ``--seed S --first n`` goes on where a run ended. Cases
run in a process of their own: what kills it, or takes longer than a minute of processor time, is a failure
too. A failure is made smaller and written as a test, tests/regress/test_torture_<hash>.py. Exit code 1 when
there was one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import pprint
import random
import select
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "benchmarks")]

from bench_timing import processor  # noqa: E402
from records import commit, write_record  # noqa: E402
from shrink import shrink  # noqa: E402

CASES = "torture_cases"
#: Processor seconds that one case may take; twenty times as many by the clock.
PATIENCE = 60.0

_TEST = '''"""Found by make torture: {name}, seed {seed}, case {number}, {date}.

{message}
"""

from {module} import COMPARISONS

CASE = {case}


def test_{name}_{digest}():
    COMPARISONS["{name}"].check(CASE)
'''


def comparisons(module=CASES):
    """The comparisons of a module, by name."""
    return __import__(module).COMPARISONS


def check(comparison, case):
    """What is wrong with a case, as (kind, message), or None."""
    try:
        comparison.check(case)
    except Exception as error:  # whatever it is, it is a failure
        text = str(error).strip().splitlines()
        return type(error).__name__, text[0][:2000] if text else ""
    return None


class Here:
    """Checks cases in this process."""

    def __init__(self, module=CASES):
        self.comparisons = comparisons(module)

    def check(self, name, case):
        return check(self.comparisons[name], case)

    def close(self):
        pass


class Elsewhere:
    """Checks cases in a process that may die of them."""

    def __init__(self, module=CASES, patience=PATIENCE):
        self.module, self.patience, self.process = module, patience, None

    def check(self, name, case):
        if self.process is None:
            command = [sys.executable, __file__, "--worker", self.module]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
            )
        try:
            self.process.stdin.write(json.dumps([name, case]) + "\n")
            self.process.stdin.flush()
            answered = self._answered()
        except (BrokenPipeError, FileNotFoundError):
            answered = True  # It is gone: so says the end of what it wrote.
        if not answered:
            self.close(kill=True)
            return "Hang", f"no answer within {self.patience:g} seconds"
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.close()
            return "Crash", f"the process ended with {code}"
        answer = json.loads(line)
        return None if answer is None else tuple(answer)

    def _answered(self):
        # On a busy machine a process may wait long for its turn: what counts is the time that it had.
        before, waited = _processor_seconds(self.process.pid), 0.0
        while not select.select([self.process.stdout], [], [], 0.5)[0]:
            waited += 0.5
            if _processor_seconds(self.process.pid) - before > self.patience or waited > 20 * self.patience:
                return False
        return True

    def close(self, kill=False):
        process, self.process = self.process, None
        if process is None:
            return
        if kill:
            process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        process.stdout.close()


def _processor_seconds(pid):
    # Of a process that is ours; proc(5): fields 14 and 15 are ticks in user and system mode.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def work(module):
    """Answer cases from standard input until it ends."""
    known, out = comparisons(module), sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        name, case = json.loads(line)
        out.write(json.dumps(check(known[name], case)) + "\n")
        out.flush()


class Torture:
    """One run: draws cases by number, checks them, and writes down what fails.

    Parameters
    ----------
    seed : int
        With a case's number, all that chooses a case.
    names : list of str
        Which comparisons, in turn.
    checker : Here or Elsewhere
    folder : Path
        Where tests of failures are written.
    """

    def __init__(self, seed, names, checker, folder, module=CASES):
        self.seed, self.names, self.checker, self.folder, self.module = seed, names, checker, folder, module
        self.comparisons = comparisons(module)
        self.number, self.counts, self.failures = 0, Counter(), []
        self.commit = commit()

    def case(self, number):
        """(comparison's name, case) of that number."""
        name = self.names[number % len(self.names)]
        return name, self.comparisons[name].draw(random.Random(f"{self.seed}:{number}"))

    def run(self, seconds=None, first=0, cases=None, most_failures=5, shrink_seconds=60.0, tell=print):
        """Go on until the time, or so many cases, or so many failures."""
        start, told = time.monotonic(), 0.0
        self.number = first
        while len(self.failures) < most_failures and (cases is None or self.number - first < cases):
            passed = time.monotonic() - start
            if seconds is not None and passed >= seconds:
                break
            if passed - told >= 10:
                told = passed
                done = sum(self.counts.values())
                tell(
                    f"{passed:5.0f} s  {done} cases  {done / passed:.1f} cases/s  seed {self.seed}",
                    flush=True,
                )
            name, case = self.case(self.number)
            failure = self.checker.check(name, case)
            self.counts[name] += 1
            if failure is not None:
                self._fail(name, case, failure, shrink_seconds, tell)
            self.number += 1
        return time.monotonic() - start

    def _fail(self, name, case, failure, seconds, tell):
        kind, message = failure

        def fails(candidate):
            found = self.checker.check(name, candidate)
            return found is not None and found[0] == kind

        tell(f"case {self.number}, {name}: {kind}: {message}", flush=True)
        small = shrink(case, fails, seconds)
        final = self.checker.check(name, small) or failure
        path = self._write(name, small, final)
        tell(f"  made smaller, written to {path}: {final[0]}: {final[1]}", flush=True)
        self.failures.append({"case": self.number, "comparison": name, "message": message, "test": path.name})

    def _write(self, name, case, failure):
        text = pprint.pformat(case, width=105, sort_dicts=False)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        path = self.folder / f"test_torture_{digest}.py"
        self.folder.mkdir(parents=True, exist_ok=True)
        message = f"{failure[0]}: {failure[1]}".replace("\\", "/").replace('"""', "'''")
        fields = {"name": name, "seed": self.seed, "number": self.number, "date": _today(), "case": text}
        fields |= {"message": message[:1000], "digest": digest, "module": self.module}
        path.write_text(_TEST.format(**fields))
        return path


def _today():
    return datetime.now(UTC).date().isoformat()


def facts(torture, seconds):
    """What a run did, for its record."""
    return {
        "command": f"make torture SECONDS={round(seconds)} SEED={torture.seed}",
        "date": _today(),
        "commit": torture.commit,
        "processor": processor(),
        "python": platform.python_version(),
        "seed": torture.seed,
        "seconds": round(seconds),
        "cases": dict(sorted(torture.counts.items())),
        "total": sum(torture.counts.values()),
        "cases_per_second": round(sum(torture.counts.values()) / seconds, 1),
        "next": torture.number,
        "failures": torture.failures,
    }


def main(arguments=None):
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, help="by default one from the clock, printed")
    parser.add_argument(
        "--first", type=int, default=0, help="the first case's number: goes on with an earlier run"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="boot, conversions, timing, machine")
    parser.add_argument("--json", metavar="FILE", help="write a dated record")
    parser.add_argument("--worker", metavar="MODULE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        with suppress(BrokenPipeError):  # who asked is gone
            work(options.worker)
        return 0
    known = list(comparisons())
    names = options.only or known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no comparison {', '.join(unknown)}; there are {', '.join(known)}")
    seed = options.seed if options.seed is not None else int(time.time()) % 1_000_000
    print(f"seed {seed}, from case {options.first}: {', '.join(names)}", flush=True)
    checker = Elsewhere()
    torture = Torture(seed, names, checker, ROOT / "tests" / "regress")
    try:
        seconds = torture.run(options.seconds, options.first)
    finally:
        checker.close()
    done = sum(torture.counts.values())
    print(", ".join(f"{count:,} {name}" for name, count in sorted(torture.counts.items())))
    print(
        f"{done:,} cases in {seconds:.0f} s, {done / seconds:.1f} cases/s, {len(torture.failures)} failures"
    )
    print(f"goes on with --seed {seed} --first {torture.number}")
    if options.json:
        write_record(options.json, "xenmm.torture/1", facts(torture, seconds))
    return 1 if torture.failures else 0


if __name__ == "__main__":
    sys.exit(main())
