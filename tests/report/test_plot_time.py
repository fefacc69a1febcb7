"""Pictures of time: points, bars and lines are the record's and the results' numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from xenmm.cli import main
from xenmm.errors import ConfigError
from xenmm.report import plot_time
from xenmm.timing.curves import miss_curve
from xenmm.timing.replay import Input, replay

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "conversions.json"
WORKLOAD = Input(workload="zipf", accesses=20_000)


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.fixture(scope="module")
def runs():
    import xenmm
    from xenmm.maps import open_map

    hosts = {p: xenmm.boot(open_map("candidate-8x32g-512g"), p) for p in ("fold", "xen-offset")}
    results = {p: replay(h, WORKLOAD, "zen3") for p, h in hosts.items()}
    return results, {p: miss_curve(h, WORKLOAD, "zen3", "L2") for p, h in hosts.items()}


@pytest.mark.parametrize(
    ("conversion", "compression", "count"),
    [
        # page = base + (mfn << 5): a shift and an add; masks are two ands, a shift and an or before that.
        ("mfn_to_page", "none", 2),
        ("mfn_to_page", "mask", 6),
        ("mfn_to_page", "offset", 5),
        ("page_to_virt", "mask", 3),
    ],
)
def test_operations_are_those_of_the_formula(conversion, compression, count):
    assert plot_time.operations(conversion, compression) == count


def test_roofline_points_are_the_records_times(record):
    points = plot_time.roofline_points(record)
    row = next(
        r
        for r in record["arrays"]
        if (r["compression"], r["data"], r["bytes"], r["task"])
        == ("mask", "coherent", 8 << 20, "mfn_to_page")
    )
    point = next(
        p
        for p in points
        if (p["compression"], p["bytes"], p["conversion"]) == ("mask", 8 << 20, "mfn_to_page")
    )
    # Elements a nanosecond times operations each; an element is 8 bytes of the input and 8 of the output.
    assert point["rate"] == pytest.approx(6 / (8 * row["ns"]))
    assert point["intensity"] == 6 / 16
    # Where a point lies under its roof is what the record calls the multiple of memcpy.
    roof = 2 / next(
        r["ns"]
        for r in record["arrays"]
        if (r["compression"], r["data"], r["bytes"], r["task"]) == ("mask", "coherent", 8 << 20, "memcpy")
    )
    assert point["intensity"] * roof / point["rate"] == pytest.approx(row["of_memcpy"])


def test_roofline_draws_every_point(record):
    axes = plot_time.roofline_figure(record).axes[0]
    drawn = {
        (x, y)
        for line in axes.lines
        if line.get_linestyle() == "None"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    assert drawn == {(p["intensity"], p["rate"]) for p in plot_time.roofline_points(record)}


def test_a_record_without_arrays_is_refused(record):
    with pytest.raises(ConfigError, match="no arrays"):
        plot_time.roofline_figure({**record, "arrays": []})


def test_bars_are_cycles_an_access_by_cause(runs):
    results, curves = runs
    axes = plot_time.replay_figure(results, curves, "L2").axes[0]
    totals = [0.0] * len(results)
    for container in axes.containers:
        for i, bar in enumerate(container):
            totals[i] += bar.get_width()
    assert totals == pytest.approx([r.cycles["total"] / sum(r.accesses.values()) for r in results.values()])


def test_curves_are_the_points(runs):
    results, curves = runs
    axes = plot_time.replay_figure(results, curves, "L2").axes[1]
    for line, points in zip(axes.lines, curves.values(), strict=True):
        assert list(line.get_xdata()) == [p.size / 1024 for p in points]
        assert list(line.get_ydata()) == pytest.approx([100 * p.miss_rate for p in points])


def test_commands_draw(tmp_path, capsys):
    out = tmp_path / "a.svg"
    assert main(["bench", "--record", str(RECORD), "--plot", str(out)]) == 0
    assert "memcpy" in out.read_text() and "targets met" in capsys.readouterr().out
    words = ["replay", "dell-r930", "--workload", "zipf", "--accesses", "5000", "--miss-curve", "L2-DTLB"]
    assert main([*words, "--plot", str(tmp_path / "b.png"), "--json", str(tmp_path / "b.json")]) == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((tmp_path / "b.json").read_text())
    curve = facts["miss_curves"]["xen-offset/zen3"]
    assert curve["table"] == "L2-DTLB" and len(curve["points"]) == 9
    assert "Miss rate against the size of L2-DTLB" in capsys.readouterr().out


def test_what_is_no_record_is_refused(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    assert main(["bench", "--record", str(tmp_path / "a.json")]) == 2
    assert "no record of xenmm bench" in capsys.readouterr().err
