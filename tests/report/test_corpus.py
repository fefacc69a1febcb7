"""Real machines' logs through the command, in one process: a report within 80 columns, or one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xenmm.cli import main
from xenmm.maps import bundled

CORPUS = Path(os.environ.get("XENMM_CORPUS", "."))
FILES = [p for folder in ("maps", "xen-boots") for p in (CORPUS / folder).glob("*")]
LOGS = sorted(p for p in FILES if p.suffix in (".log", ".txt"))


@pytest.fixture
def logs():
    if not LOGS:
        pytest.skip("XENMM_CORPUS names no folder with maps/ and xen-boots/")
    return LOGS


def test_every_log_is_reported_or_refused_in_one_line(logs, capsys):
    refused = []
    for path in logs:
        code = main(["report", str(path), "--width", "80"])
        out, err = capsys.readouterr()
        if code == 2:
            refused.append(path.name)
            assert out == "" and err.startswith("xenmm: error: ") and err.count("\n") == 1
            continue
        assert code == 0 and err == "", path
        assert [line for line in out.splitlines() if len(line) > 80 and str(path) not in line] == []
        assert "sparse-m2p" in out and "minimum" in out
    # Excerpts of an SRAT alone and guests' maps hold no machine's RAM; everything else is reported.
    truth = json.loads((CORPUS / "maps" / "truth.json").read_text())
    without_ram = {m["file"] for m in truth["maps"] if not m["ram"]}
    assert set(refused) == without_ram & {p.name for p in logs}


def test_every_log_boots_and_converts_its_own_first_frame(logs, capsys):
    for path in logs:
        if main(["boot", str(path), "--json", "-"]) != 0:
            capsys.readouterr()
            continue
        host = json.loads(capsys.readouterr().out)["host"]
        mfn = host["used"]["ranges"][-1][0] >> 12
        assert main(["convert", str(path), f"mfn:{mfn:#x}"]) == 0, path
        assert "valid: mfn < max_page" in capsys.readouterr().out


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_logs_end_well(tmp_path, capsys, data):
    # Bytes of a bundled console log overwritten, cut out and repeated: any reading will do, a fault will not.
    raw = bytearray(data.draw(st.sampled_from([p.read_bytes() for p in bundled().values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 80))] = data.draw(st.binary(max_size=30))
    path = tmp_path / "damaged"
    path.write_bytes(bytes(raw))
    code = main(["report", str(path)])
    out, err = capsys.readouterr()
    assert code in (0, 2), err
    assert (code == 0) == bool(out) and err.count("\n") == (code == 2)
