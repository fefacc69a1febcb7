"""What ``make torture`` compares: each comparison draws plain cases, and checks one.

A case is of dicts, lists, numbers, strings and None alone, so that it can be made smaller and written down.
``check`` raises AssertionError where the package and the slow model differ.
"""

from __future__ import annotations

import array
import functools
import random
import tempfile
from pathlib import Path

import corner_maps
import numpy as np
import random_engines
import random_params
import slow_boot
from embeddings import CC, Compiled
from hosts import make_host
from machine_driver import DOMAINS, Driver
from machine_pair import Pair, play_on_model
from machines import small_host
from oracle import CONVERSIONS, Oracle
from slow_machine import SlowMachine

import xenmm
from xenmm import _core
from xenmm._timing import instruction_sets
from xenmm.errors import FrameError
from xenmm.timing import Engine


class Boot:
    """Every figure of a boot against loops over all groups, slots and pages; machines at the corners."""

    def draw(self, rng):
        machine = corner_maps.draw(rng)
        return {
            "ram": [list(r) for r in machine.ram],
            "srat": None if machine.srat is None else [list(r) for r in machine.srat],
            "profile": rng.choice(list(slow_boot.RULES)),
            "page_sizes": rng.choice(["2m", "1g"]),
        }

    def check(self, case):
        ram, srat = [tuple(r) for r in case["ram"]], case["srat"]
        memory_map = xenmm.MemoryMap.from_ranges(ram, None if srat is None else [tuple(r) for r in srat])
        page_sizes = case.get("page_sizes", "2m")
        host = xenmm.boot(memory_map, case["profile"], page_sizes=page_sizes, compat_m2p=True)
        rows = None if srat is None else [tuple(r[:2]) for r in srat if r[2] & 1 and not r[2] & 4]
        hot = max((r[1] for r in srat or () if r[2] & 3 == 3), default=0)
        wanted = slow_boot.boot(corner_maps.merge(ram), rows, case["profile"], page_sizes == "1g", hot)
        got = slow_boot.figures(host)
        for name, value in wanted.items():
            assert got[name] == value, f"{name}: the package says {got[name]}, the model {value}"
        assert host.ram_bytes == host.used_ram_bytes + sum(r.size for r in host.lost), "RAM used and lost"


class Conversions:
    """One conversion of one host by every way: a number, an array in every loop, C; checked and not."""

    def draw(self, rng):
        if rng.random() < 0.3:
            machine = corner_maps.draw(rng)
            host = xenmm.boot(xenmm.MemoryMap.from_ranges(*machine), rng.choice(["xen-mask", "xen-offset"]))
            params = {name: host.params[name] for name in random_params.make_params([], 0, 0)}
        else:
            params = random_params.random_params(rng)
        conversion = rng.choice([*CONVERSIONS, "mfn_valid"])
        values = random_params.inputs(rng, params, conversion)
        return {"params": _plain(params), "conversion": conversion, "values": values}

    def check(self, case):
        params = random_params.make_params([], 0, 0) | _params(case["params"])
        host, oracle, name = make_host(params), Oracle(params), case["conversion"]
        values = case["values"]
        model = [int(getattr(oracle, name)(x)) for x in values]
        bare = host.mfn_valid if name == "mfn_valid" else getattr(host, f"{name}_unchecked")
        self._same("one by one", values, [int(bare(x)) for x in values], model)
        self._arrays(bare, values, model)
        if name != "mfn_valid":
            self._checked(getattr(host, name), values, model, [oracle.in_domain(name, x) for x in values])
        if CC is not None:
            answers = _compiled().generic(host)(name, np.array(values, dtype=np.uint64))
            self._same("C", values, answers.tolist(), model)

    def _arrays(self, bare, values, model):
        try:
            for kernels in [k for k, runs in _core._kernels().items() if runs]:
                _core._set_kernels(kernels)
                answers = bare(np.array(values, dtype=np.uint64)).astype(np.uint64).tolist()
                self._same(f"arrays, {kernels} loops", values, answers, model)
        finally:
            _core._set_kernels(None)

    def _checked(self, checked, values, model, inside):
        for x, y, fits in zip(values, model, inside, strict=True):
            try:
                answer = checked(x)
            except FrameError:
                answer = None
            assert answer == (y if fits else None), (
                f"checked, {x:#x}: {answer}, the model says {y if fits else None}"
            )

    def _same(self, how, values, answers, model):
        for x, answer, y in zip(values, answers, model, strict=True):
            assert answer == y, f"{how}: {x:#x} becomes {answer:#x}, the model says {y:#x}"


@functools.cache
def _compiled():
    return Compiled([], Path(tempfile.mkdtemp(prefix="xenmm-torture-")))


def _plain(params):
    # Only what differs from the identity; bitmaps as text.
    same = random_params.make_params([], 0, 0)
    plain = {k: list(v) if isinstance(v, list | tuple) else v for k, v in params.items() if v != same[k]}
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in plain.items()}


def _params(plain):
    bitmap = (
        {"pdx_group_valid": bytes.fromhex(plain["pdx_group_valid"])} if "pdx_group_valid" in plain else {}
    )
    return plain | bitmap


class Timing:
    """Every count and the cycles of an engine, in every instruction set, on one trace."""

    def draw(self, rng):
        hierarchy = rng.getrandbits(32)
        of_hierarchy = random.Random(hierarchy)
        random_engines.random_hierarchy(of_hierarchy, plain=hierarchy % 2 == 0)
        space = random_engines.random_space(of_hierarchy)
        trace = random_engines.random_trace(rng, space, rng.choice([50, 400]))
        accesses = [list(access) for access in zip(*(part.tolist() for part in trace), strict=True)]
        return {"hierarchy": hierarchy, "accesses": accesses, "once": rng.random() < 0.5}

    def check(self, case):
        seed = case["hierarchy"]
        rng = random.Random(seed)
        hierarchy = random_engines.random_hierarchy(rng, plain=seed % 2 == 0)
        space = random_engines.random_space(rng)
        columns = list(zip(*case["accesses"], strict=True)) or [(), (), ()]
        trace = [array.array(kind, column) for kind, column in zip("QBH", columns, strict=True)]
        straddle = "once" if case["once"] else "both"
        counts, cycles = random_engines.slow_run(hierarchy, space, *trace, straddle, seed)
        for name in instruction_sets():
            result = Engine(hierarchy, space, seed, name).run(*trace, straddle=straddle)
            assert result.counts == counts, f"{name}: {result.counts}, the model {counts}"
            assert result.cycles["total"] == sum(cycles), f"{name}: cycles"


class Machines:
    """A live machine and the slow one, operation by operation; the whole state, audits, every page home."""

    def draw(self, rng):
        flavour = rng.choice(["naive", "cse"])
        profile = rng.choice(["xen-offset", "xen-mask", "sparse-m2p", "cse"])
        options = {"flavour": flavour, "map_by": rng.choice(["page", "frame"])}
        options |= {"mapcache": rng.choice([0, 0, 2]), "cpus": rng.choice([0, 0, 2, 64])}
        by_page, vcpus, cpus = options["map_by"] == "page", options["mapcache"], options["cpus"]
        slow = SlowMachine(small_host(profile), flavour == "naive", by_page, vcpus, cpus)
        driver = Driver(slow, rng)
        operations = [*DOMAINS]
        for operation in operations:
            play_on_model(slow, operation)
        for _ in range(rng.choice([30, 150, 400])):
            operations.append(driver.step())
            play_on_model(slow, operations[-1])
        return {"profile": profile, "options": options, "operations": operations}

    def check(self, case):
        with tempfile.TemporaryDirectory(prefix="xenmm-torture-") as folder:
            pair = Pair(
                profile=case.get("profile", "xen-offset"), folder=Path(folder), **case.get("options", {})
            )
            for number, operation in enumerate(case["operations"]):
                pair.apply(operation)
                if number % 64 == 63:
                    pair.compare()
            pair.compare()
            pair.all_home()


COMPARISONS = {"boot": Boot(), "conversions": Conversions(), "timing": Timing(), "machine": Machines()}
