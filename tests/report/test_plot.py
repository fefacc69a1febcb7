"""Pictures: their bars are the API's numbers, their bytes do not vary, and what cannot be drawn is said."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: E402

import xenmm  # noqa: E402
from xenmm.cli import main  # noqa: E402
from xenmm.constants import GIB, MIB, PAGE_SHIFT  # noqa: E402
from xenmm.errors import ConfigError  # noqa: E402
from xenmm.maps import bundled, open_map  # noqa: E402
from xenmm.report import plot  # noqa: E402
from xenmm.report.inputs import Input  # noqa: E402
from xenmm.report.overhead import make_report  # noqa: E402

PROFILES = ("ext5t", "sparse-m2p", "xen-mask", "xen-offset")


def report_of(memory_map, profiles=PROFILES):
    return make_report(memory_map, Input("test", None, None, False, {}), profiles=profiles)


def bundled_report(name, profiles=PROFILES):
    return report_of(xenmm.read_map(open_map(name), name=name), profiles)


def scale(axes):
    """Bytes of one unit of the axis, from its label."""
    label = axes.get_xlabel()
    return next(n for unit, n in (("(TiB", GIB << 10), ("(GiB", GIB), ("(MiB", MIB)) if unit in label)


def spans(collection):
    """(start, width) of each bar of a strip, in the axis' unit."""
    return [(p.vertices[:, 0].min(), float(p.vertices[:, 0].max() - p.vertices[:, 0].min())) for p in
            collection.get_paths()]  # fmt: skip


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_machine_is_drawn_with_its_own_figures(name):
    report = bundled_report(name)
    above, squeezed, below = plot.report_figure(report).axes
    # The address map: all of the RAM, each byte once.
    drawn = sum(width for strip in above.collections for _, width in spans(strip)) * scale(above)
    assert drawn == pytest.approx(report.memory_map.ram_bytes, rel=1e-9)
    # The squeezed strips: of each kind, the RAM that its host uses.
    kinds = dict.fromkeys(h.profile.compression for h in report.hosts)
    assert len(squeezed.get_yticks()) == len(kinds)
    # The waterfall: every part of every profile, and the minimum.
    rows = [h.overhead().costs for h in report.hosts] + [report.minimum]
    for part, container in zip(plot.PARTS, below.containers, strict=True):
        widths = [bar.get_width() * scale(below) for bar in container]
        assert widths == pytest.approx([c.to_dict()[part] for c in rows], rel=1e-12, abs=1e-6)
    ends = [text.xy[0] * scale(below) for text in below.texts]
    assert ends == pytest.approx([c.total for c in rows], rel=1e-12)


def test_squeezed_strips_stand_where_the_conversions_put_the_frames():
    report = bundled_report("taishan200-4node", ["xen-mask", "xen-offset"])
    axes = plot.report_figure(report).axes[1]
    drawn = {}
    for strip in axes.collections:
        row = round(-strip.get_paths()[0].vertices[:, 1].mean())
        drawn.setdefault(row, []).extend(spans(strip))
    for row, host in enumerate(report.hosts):
        expected = []
        for start, end in report.memory_map.ram:
            # Of the first MiB no Xen uses anything.
            first = host.mfn_to_pdx(-(-max(start, MIB) // 4096)) << PAGE_SHIFT
            last = (host.mfn_to_pdx((end >> PAGE_SHIFT) - 1) + 1) << PAGE_SHIFT
            expected.append((first, last))
        starts = sorted(s * scale(axes) for s, _ in drawn[row])
        assert starts[0] == pytest.approx(min(a for a, _ in expected), abs=4096)
        ends = sorted((s + w) * scale(axes) for s, w in drawn[row])
        assert ends[-1] == pytest.approx(max(b for _, b in expected), abs=4096)


def test_ram_that_a_profile_loses_is_not_drawn_squeezed():
    report = bundled_report("taishan200-4node", ["xen-none"])
    axes = plot.report_figure(report).axes[1]
    drawn = sum(width for strip in axes.collections for _, width in spans(strip)) * scale(axes)
    assert drawn == pytest.approx(report.hosts[0].used_ram_bytes, abs=2 << 20)
    assert "cannot use all" in plot.report_figure(report).axes[2].get_xlabel()


@pytest.mark.parametrize("suffix", plot.SUFFIXES)
def test_the_same_figures_give_the_same_bytes(suffix, tmp_path):
    first, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, again):
        plot.save(plot.report_figure(bundled_report("candidate-8x32g-512g")), path)
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


def test_last_bits_of_the_layout_leave_no_trace(tmp_path, monkeypatch):
    paths = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in paths:
        plot.save(plot.report_figure(bundled_report("candidate-8x32g-512g")), path)
        exact = ConstrainedLayoutEngine.execute

        def with_other_bits(self, fig, exact=exact):
            done = exact(self, fig)
            for axes in fig.axes:
                axes.set_position([math.nextafter(edge, 1) for edge in axes.get_position().bounds])
                axes.set_in_layout(True)
            return done

        monkeypatch.setattr(ConstrainedLayoutEngine, "execute", with_other_bits)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_svg_text_stays_text_and_no_date_gets_in(tmp_path):
    plot.save(plot.report_figure(bundled_report("dell-r930")), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert ">sparse-m2p<" in text and "dc:date" not in text


@pytest.mark.parametrize(("width", "inches"), plot.WIDTHS.items())
def test_widths_are_those_of_a_papers_columns(width, inches):
    assert plot.report_figure(bundled_report("dell-r930"), width).get_figwidth() == inches


def test_two_thousand_ranges_stay_a_small_file(tmp_path):
    ranges = [(i * GIB, i * GIB + 3 * MIB) for i in range(2000)]
    report = report_of(xenmm.MemoryMap.from_ranges(ranges, [(0, 2000 * GIB)]), ["xen-mask"])
    plot.save(plot.report_figure(report), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 2 << 20


@pytest.mark.parametrize("palette", [plot.COLOURS, plot.NODE_COLOURS])
def test_neighbouring_colours_differ_in_grey(palette):
    from matplotlib.colors import to_rgb

    grey = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in map(to_rgb, palette)]
    assert min(abs(a - b) for a, b in pairwise(grey)) > 0.05


@pytest.mark.parametrize("name", ["a.gif", "a", "svg", ".svg"])
def test_another_suffix_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        plot.check_destination(name)


def test_another_width_is_refused():
    with pytest.raises(ConfigError, match="single or double, not 'triple'"):
        plot.report_figure(bundled_report("dell-r930"), "triple")


def test_command_draws_and_refuses_before_it_works(tmp_path, capsys):
    assert main(["report", "dell-r930", "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "frame table" in capsys.readouterr().out
    assert main(["report", "dell-r930", "--plot", str(tmp_path / "a.gif")]) == 2
    assert capsys.readouterr().out == ""
    assert main(["report", "dell-r930", "--plot", str(tmp_path / "none" / "a.png")]) == 2


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_no_window_is_asked_for(tmp_path):
    code = (
        "import sys; from xenmm.cli import main;"
        f"main(['report', 'dell-r930', '--json', '/dev/null', '--plot', {str(tmp_path / 'a.pdf')!r}]);"
        "print('matplotlib.pyplot' in sys.modules, 'tkinter' in sys.modules)"
    )
    assert run(code).stdout.splitlines()[-1] == "False False"


def test_without_matplotlib_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; from xenmm.cli import main;"
        f"sys.exit(main(['report', 'dell-r930', '--plot', {str(tmp_path / 'a.png')!r}]))"
    )
    done = run(code)
    assert done.returncode == 2 and "pip install 'xenmm[plot]'" in done.stderr and done.stdout == ""
