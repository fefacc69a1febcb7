"""The same input gives the same bytes: in any order of dictionaries, locale, time zone, folder and process.

Every result says which program made it, from which input, by its hash, and with every option in effect.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sanitized

import xenmm

MAPS = Path(xenmm.__file__).parent / "maps"
LOG, OTHER = MAPS / "a2-numa2x32g-offset.log", MAPS / "b2-ldr-4nodes-1t-417.log"
#: Environments that could show in a result, and must not.
ENVIRONMENTS = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"},
    {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "Pacific/Kiritimati", "COLUMNS": "200"},
    {
        "PYTHONHASHSEED": "3",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "de_DE.UTF-8",
        "TZ": "America/St_Johns",
        "HOME": "/none",
    },
)
OUTPUTS = {
    "report": ["report", LOG],
    "report json": ["report", LOG, "--json", "-"],
    "boot": ["boot", LOG, "--profile", "xen-mask"],
    "boot json": ["boot", LOG, "--json", "-"],
    "convert": ["convert", LOG, "mfn:0x100000", "--page-sizes", "2m"],
    "convert json": ["convert", LOG, "mfn:0x100000", "--json", "-"],
    "steps json": ["steps", LOG, "--size", "64", "--json", "-"],
    "replay json": ["replay", LOG, "--workload", "p2m-update", "--accesses", "999", "--json", "-"],
    "replay csv": ["replay", LOG, "--workload", "zipf", "--accesses", "20000", "--csv", "-"],
    "compare json": ["compare", LOG, OTHER, "--json", "-"],
    "export c": ["export", LOG, "--format", "c"],
    "export json": ["export", LOG, "--format", "json"],
    "export srat": ["export", LOG, "--format", "srat"],
    "export dts": ["export", LOG, "--format", "dts"],
}  # fmt: skip


def said(arguments, folder, **environment):
    """What the command prints, wherever it runs; a difference of compare is no failure."""
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-m", "xenmm", *map(str, arguments)],
        capture_output=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **sanitized.environment(), **environment},
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_same_bytes_in_every_environment(name, tmp_path):
    found = {said(OUTPUTS[name], tmp_path, **environment) for environment in ENVIRONMENTS}
    assert len(found) == 1
    assert found != {b""}


def hashes(value):
    """Every SHA-256 in a result, with the name that it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and re.fullmatch("[0-9a-f]{64}", inner):
                yield key
            yield from hashes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from hashes(inner)


@pytest.mark.parametrize("name", [n for n in OUTPUTS if n.endswith("json")])
def test_a_result_says_what_made_it_from_what_and_how(name, tmp_path):
    result = json.loads(said(OUTPUTS[name], tmp_path))
    assert result["schema"].startswith("xenmm")
    version = result["frozen"]["made_by"] if name == "export json" else result["xenmm"]
    assert xenmm.__version__ in version
    assert list(hashes(result))
    if name in ("export json", "compare json"):
        return
    booted = result["input"]["machine"]["options"] if name == "replay json" else result["options"]
    assert {"page_sizes", "compat_m2p", "hotplug", "stack_guards", "command_line"} <= set(booted)


def test_a_trace_is_named_by_its_hash(tmp_path):
    import hashlib

    text = b"".join(b"LD 0x%x\n" % (64 * i) for i in range(100_000))
    (tmp_path / "trace").write_bytes(text)
    result = json.loads(said(["replay", LOG, "trace", "--json", "-"], tmp_path))
    assert result["input"]["trace"]["sha256"] == hashlib.sha256(text).hexdigest()
    assert result["input"]["machine"]["map_sha256"] == xenmm.read_map(LOG).sha256
    assert result["input"]["machine"]["profile"] == "xen-offset"


def test_a_checkpoint_is_the_same_bytes_in_every_process(tmp_path):
    script = (
        "import sys\n"
        "from machines import small_machine, two_domains\n"
        "machine = small_machine()\n"
        "two_domains(machine)\n"
        "machine.save(sys.argv[1])\n"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    for number, environment in enumerate(ENVIRONMENTS):
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / str(number)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **sanitized.environment(), **environment},
            check=True,
        )
    assert len({(tmp_path / str(n)).read_bytes() for n in range(len(ENVIRONMENTS))}) == 1
