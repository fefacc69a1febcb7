"""What-if: layouts as machines have them, the best spacing, and the largest machine, held to brute force."""

import json
from dataclasses import replace

import pytest
import slow_boot
import slow_layouts
from hypothesis import given, settings
from hypothesis import strategies as st

import xenmm
from xenmm import cli
from xenmm.errors import ConfigError
from xenmm.firmware.writers import FORMATS
from xenmm.studies import plan_cli
from xenmm.studies.largest_machine import largest_machine
from xenmm.studies.layout_search import layout_cost, search_layouts
from xenmm.studies.layouts import HT_HOLE, HT_WAYS, Layout
from xenmm.studies.plan import plan
from xenmm.studies.units import parse_size

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
PROFILES = ("pre", "ext5t", "fold", "sparse-m2p", "xen-4.17", "xen-mask", "xen-offset", "xen-none")


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", 0), ("4096", 4096), ("3T", 3 * TIB), ("3t", 3 * TIB), ("3TiB", 3 * TIB), ("3 TiB", 3 * TIB),
            ("1.5G", 3 << 29), ("0.5K", 512), ("2^42", 1 << 42), ("2**42", 1 << 42), ("0x4000_0000", GIB),
            ("1P", 1 << 50), ("2^63", 1 << 63), (" 7M ", 7 * MIB), ("12B", 12), (5, 5),
        ],
    )  # fmt: skip
    def test_sizes(self, text, value):
        assert parse_size("x", text) == value

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is no size"), ("T", "is no size"), ("3X", "is no size"), ("-1G", "is no size"),
            ("1e9", "is no size"),
            ("3TB", "units are binary here, write 3T or 3 TiB"), ("1.0000001K", "no whole number of bytes"),
            ("2^64", "past 64 bits"), ("16E", "past 64 bits"), ("0x", "is no size"), (-1, "negative"),
            (True, "is no size"), (None, "is no size"), ("2^9999", "is no size"), ("1" * 40, "past 64 bits"),
            ("1" * 5000, "is no size"),
        ],
    )  # fmt: skip
    def test_mistakes(self, text, message):
        with pytest.raises(ConfigError, match=r"^--ram: ") as error:
            parse_size("--ram", text)
        assert message in str(error.value)


def rows(layout):
    """A layout's RAM as the slow model writes it: (start, end, node)."""
    memory_map = layout.memory_map()
    assert len(memory_map.ram) <= len(memory_map.ranges)
    node_of = {r.start: r.node for r in memory_map.srat}
    return [(r.start, r.end, node_of.get(0 if r.start == MIB else r.start, 0)) for r in memory_map.ranges]


class TestLayouts:
    @pytest.mark.parametrize("sizes", [[GIB], [8 * GIB], [8 * GIB, 8 * GIB], [4 * GIB, GIB, 7 * GIB]])
    @pytest.mark.parametrize("spacing", [1 << 34, 3 << 33, 1 << 45])
    def test_spaced_nodes_are_where_the_slow_model_has_them(self, sizes, spacing):
        layout = Layout(tuple(sizes), spacing)
        assert rows(layout) == slow_layouts.spaced(sizes, spacing)
        assert layout.memory_map().ram_bytes == layout.ram_bytes - (MIB - 0xA0000)

    def test_packed_nodes_follow_each_other(self):
        layout = Layout((8 * GIB, 4 * GIB, 4 * GIB))
        assert [r[:2] for r in rows(layout)][2:] == [
            (4 * GIB, 10 * GIB),
            (10 * GIB, 14 * GIB),
            (14 * GIB, 18 * GIB),
        ]

    def test_shares_differ_by_a_granule_at_most_and_add_up(self):
        layout = Layout.even(10 * GIB, 3)
        assert layout.node_bytes == (4 * GIB, 3 * GIB, 3 * GIB)

    def test_a_base_puts_all_memory_there(self):
        assert rows(Layout((GIB, GIB), 1 << 40, base=1 << 31)) == [
            (1 << 31, (1 << 31) + GIB, 0),
            ((1 << 31) + TIB, (1 << 31) + TIB + GIB, 1),
        ]

    @pytest.mark.parametrize("by", [-GIB, 0, GIB])
    def test_a_range_that_reaches_amds_hole_goes_on_behind_it(self, by):
        # Node 0's upper part ends at the hole's start, a GiB before it, or a GiB past it.
        count = HT_HOLE[0] - 2 * GIB + by
        split = rows(Layout((count,), ht_hole="split"))
        assert sum(end - start for start, end, _ in split) == count - (MIB - 0xA0000)
        assert all(end <= HT_HOLE[0] or start >= HT_HOLE[1] for start, end, _ in split)
        assert [r for r in split if r[0] >= HT_HOLE[1]] == ([(TIB, TIB + GIB, 0)] if by > 0 else [])
        moved = rows(Layout((count,), ht_hole="move"))
        above = [r[:2] for r in moved if r[0] >= 4 * GIB]
        size = count - 2 * GIB
        assert above == [(TIB, TIB + size)] if by > 0 else above == [(4 * GIB, 4 * GIB + size)]

    def test_packed_nodes_around_amds_hole_never_meet(self):
        layout = Layout((1000 * GIB, 500 * GIB, 500 * GIB), ht_hole="split")
        found = sorted(rows(layout))
        assert not slow_layouts.overlaps(found) and all(
            e <= HT_HOLE[0] or s >= HT_HOLE[1] for s, e, _ in found
        )
        assert sum(e - s for s, e, _ in found) == 2000 * GIB - (MIB - 0xA0000)

    def test_a_hotplug_window_is_above_all_ram(self):
        memory_map = Layout((8 * GIB, 8 * GIB), 1 << 40, hotplug_bytes=TIB).memory_map()
        hot = [r for r in memory_map.srat if r.flags & 2]
        assert [(r.start, r.end, r.node) for r in hot] == [(TIB + 8 * GIB, 2 * TIB + 8 * GIB, 1)]
        # It is what it is for: a boot takes it for hot-pluggable.
        assert xenmm.boot(memory_map, "xen-mask").to_dict()["options"]["hotplug_end"] == hot[0].end

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (((),), "one node at least"),
            (((GIB, 0),), "node 1 has no memory"),
            (((GIB + 1,),), "node 0: 0x40000001 is no multiple of a page"),
            (((4 * GIB, GIB), 4 * GIB), "and node 0 [0x100000000, 0x180000000) overlap (spacing 2^32)"),
            (((GIB,), None, 0, MIB), "low memory ends between 2 MiB and 4 GiB"),
            (((GIB, GIB), 1 << 52), "past the highest address 2^52"),
            (((GIB, GIB), 1 << 40, 0, 2 * GIB, "move"), "ht_hole 'move' is for packed nodes"),
            (((GIB,), None, 0, 2 * GIB, "bend"), "ht_hole: 'bend' is not one of none, split, move"),
        ],
    )
    def test_impossible_layouts(self, arguments, message):
        with pytest.raises(ConfigError) as error:
            Layout(*arguments)
        assert message in str(error.value)

    @pytest.mark.parametrize("by", [-1, 0, 1])
    def test_nodes_may_touch_and_not_overlap(self, by):
        sizes = (4 * GIB, 6 * GIB + by * 4096, GIB)
        if by <= 0:
            Layout(sizes, 6 * GIB)
        else:
            with pytest.raises(ConfigError, match=r"and node 2 .* overlap"):
                Layout(sizes, 6 * GIB)


class TestLargest:
    @pytest.mark.parametrize("profile", PROFILES)
    @pytest.mark.parametrize(
        ("nodes", "spacing", "granule"),
        [
            (1, 1 << 45, 512 * GIB),
            (2, 1 << 39, 32 * GIB),
            (2, 1 << 43, 512 * GIB),
            (3, 1 << 41, 96 * GIB),
            (4, 5 << 40, 320 * GIB),
        ],
    )
    def test_it_is_the_brute_force_answer(self, profile, nodes, spacing, granule):
        expected, room = slow_layouts.largest(nodes, spacing, granule, profile, 1 << 46)
        layout = Layout((granule,) * nodes, spacing, max_address=1 << 46)
        for boots in (600, 1):
            found = largest_machine(layout, profile, granule=granule, boots=boots)
            assert found.ram_bytes == expected * granule * nodes
            assert found.limit == ("layout" if expected == room else "profile")
            assert found.exact == (boots == 600)

    @settings(max_examples=25)
    @given(
        nodes=st.integers(1, 6),
        spacing=st.integers(36, 44).map(lambda n: 1 << n),
        odd=st.sampled_from([2, 3, 5]),
        profile=st.sampled_from(PROFILES),
        ht=st.sampled_from(["none", "split"]),
    )
    def test_a_granule_less_fits_and_one_more_does_not(self, nodes, spacing, odd, profile, ht):
        granule = spacing * odd // 2 // 64 // 4096 * 4096
        layout = Layout((granule,) * nodes, spacing * odd // 2, ht_hole=ht, max_address=1 << 50)
        found = largest_machine(layout, profile, granule=granule)
        if found.cost is not None:
            assert not xenmm.boot(found.cost.layout.memory_map(), profile).plan.lost_bytes - 0xA0000
            each = found.cost.layout.node_bytes[0]
            if each > granule:
                less = replace(layout, node_bytes=(each - granule,) * nodes)
                assert layout_cost(less, profile).fits
        if found.larger is not None:
            assert found.larger.lost_bytes > 0
            assert found.limit == "profile"
        # Bisection finds what one by one finds.
        assert largest_machine(layout, profile, granule=granule, boots=1).ram_bytes == found.ram_bytes

    def test_the_last_node_is_lost_at_sixteen_tib_and_not_a_granule_before(self):
        found = largest_machine(Layout((GIB,)), "xen-offset", granule=4096, boots=1)
        # The limit is 2^32 - 2 frames: with the hole below 4 GiB, 2 GiB of the addresses are no RAM.
        assert found.ram_bytes == ((1 << 32) - 2 << 12) - 2 * GIB
        assert found.larger.lost_bytes == 4096

    def test_proportions_are_kept(self):
        found = largest_machine(Layout((4 * GIB, GIB, GIB)), "pre", granule=GIB)
        sizes = found.cost.layout.node_bytes
        assert sizes[0] == 4 * sizes[1] == 4 * sizes[2]
        with pytest.raises(ConfigError, match="no common measure"):
            largest_machine(Layout((401 * GIB, 3 * GIB)), "pre")


class TestSearch:
    @pytest.mark.parametrize("profile", PROFILES)
    @pytest.mark.parametrize("objective", ["overhead", "virtual", "loss"])
    def test_powers_of_two_are_all_tried(self, profile, objective):
        layout = Layout((6 * GIB, 5 * GIB, 5 * GIB), 1 << 44)
        found = search_layouts(layout, profile, objective)
        candidates = {}
        for n in range(12, 52):
            machine = slow_layouts.spaced(layout.node_bytes, 1 << n)
            if not slow_layouts.overlaps(machine) and machine[-1][1] <= 1 << 52:
                memory_map = xenmm.MemoryMap.from_ranges(
                    [r[:2] for r in machine], [(*r, 1) for r in slow_layouts.srat(machine)]
                )
                overhead = xenmm.boot(memory_map, profile).overhead()
                virtual = sum(overhead.virtual[t] for t in ("frame_table", "m2p", "direct_map"))
                total = overhead.costs.total
                by = {"overhead": (total, virtual), "virtual": (virtual, total), "loss": ()}[objective]
                candidates[(slow_layouts.lost(machine, profile), *by, 1 << n)] = 1 << n
        assert found.exact and found.boots == len(candidates)
        assert found.best.layout.spacing == candidates[min(candidates)]

    def test_every_multiple_is_tried_where_they_are_few(self):
        layout = Layout((6 * GIB, 6 * GIB), max_address=64 * GIB)
        found = search_layouts(layout, "ext5t", alignment=GIB)
        costs = {
            s * GIB: layout_cost(replace(layout, spacing=s * GIB), "ext5t").table_bytes for s in range(8, 59)
        }
        assert found.exact and found.best.layout.spacing == min(costs, key=lambda s: (costs[s], s))
        assert "all 51 multiples that fit" in found.method and found.boots == 51

    @pytest.mark.parametrize("profile", ["ext5t", "fold", "sparse-m2p", "xen-offset"])
    def test_where_they_are_many_it_says_so_and_is_as_good_as_any_power_of_two(self, profile):
        layout = Layout((6 * GIB, 5 * GIB, 5 * GIB), max_address=1 << 44)
        found = search_layouts(layout, profile, alignment=GIB, boots=200)
        assert not found.exact and "bisected" in found.method and found.boots <= 300
        powers = search_layouts(layout, profile)
        assert (found.best.lost_bytes, found.best.table_bytes) <= (
            powers.best.lost_bytes,
            powers.best.table_bytes,
        )
        assert found.best.layout.spacing % GIB == 0

    def test_the_window_is_kept(self):
        layout = Layout((6 * GIB, 6 * GIB))
        assert search_layouts(layout, "pre", window=(1 << 37, 1 << 38)).best.layout.spacing == 1 << 37
        with pytest.raises(ConfigError, match="no spacing is in the window"):
            search_layouts(layout, "pre", window=((1 << 40) + 1, (1 << 40) + 2))
        with pytest.raises(ConfigError, match="no spacing that is a power of two fits"):
            search_layouts(Layout((5 * GIB, 5 * GIB), max_address=12 * GIB), "pre")
        with pytest.raises(ConfigError, match="objective: 'beauty' is not one of"):
            search_layouts(layout, "pre", "beauty")

    def test_costs_are_the_slow_models(self):
        layout = Layout((6 * GIB, 5 * GIB), 1 << 36)
        machine = slow_layouts.spaced(layout.node_bytes, 1 << 36)
        for profile in PROFILES:
            host = xenmm.boot(layout.memory_map(), profile, compat_m2p=True)
            expected = slow_boot.boot(
                [r[:2] for r in machine], slow_layouts.srat(machine), profile, page_1g=True
            )
            found = slow_boot.figures(host)
            assert {k: found[k] for k in expected} == expected


class TestCommandLine:
    def run(self, capsys, *words):
        code = cli.main(["plan", *map(str, words)])
        return (code, *capsys.readouterr())

    def test_the_parsers_lists_are_the_packages(self):
        assert plan_cli.HT_WAYS == HT_WAYS
        assert set(plan_cli.FORMATS) == set(FORMATS)

    def test_the_issues_example(self, capsys):
        code, out, err = self.run(capsys, "--ram", "3T", "--nodes", 8, "--spacing", "2^42")
        assert (code, err) == (0, "")
        found = plan(Layout.even(3 * TIB, 8, spacing=1 << 42))
        for row in found.rows:
            assert row.cost == layout_cost(found.layout, row.profile)
        lines = out.splitlines()
        assert lines[0] == "8 nodes of 384 GiB, one every 4 TiB"
        assert "all 11 powers of two that fit booted" in out
        # The commas of 2009's xen-mask row, from the boot itself.
        cost = next(r.cost for r in found.rows if r.profile == "xen-mask")
        line = next(x for x in lines if x.startswith("  xen-mask"))
        assert f"{cost.percent:.3f}%" in line and "none" in line

    @pytest.mark.parametrize("width", [80, 120])
    def test_the_text_fits(self, capsys, width):
        for words in (("--ram", "3T", "--nodes", 8, "--spacing", "2^42"), ("--ram", "100T", "--nodes", 3)):
            _, out, _ = self.run(
                capsys, *words, "--granule", "1T" if "100T" in words else "1G", "--width", width
            )
            assert max(map(len, out.splitlines())) <= width

    def test_json_has_every_answer(self, capsys):
        code, out, _ = self.run(
            capsys,
            "--ram",
            "64G",
            "--nodes",
            2,
            "--spacing",
            "1T",
            "--profiles",
            "pre,xen-mask",
            "--json",
            "-",
        )
        facts = json.loads(out)
        assert code == 0 and facts["schema"] == "xenmm-plan/1" and facts["xenmm"] == xenmm.__version__
        assert [p["profile"] for p in facts["profiles"]] == ["pre", "xen-mask"]
        assert facts["profiles"][1]["cheapest_spacing"]["exact"] is True
        assert facts["profiles"][1]["largest_machine"]["ram_bytes"] > 64 * GIB

    @pytest.mark.parametrize("format", ["json", "e820", "xen", "srat", "dtb"])
    def test_the_layout_is_written_and_read_again(self, capsys, tmp_path, format):
        out = tmp_path / "map"
        given = ("--ram", "64G", "--nodes", 2, "--spacing", "1T", "--profiles", "xen-mask")
        code, text, _ = self.run(capsys, *given, "-o", out, "--format", format)
        assert code == 0 and "What this layout costs" in text
        found, layout = xenmm.read_map(out), Layout.even(64 * GIB, 2, spacing=TIB).memory_map()
        if format != "srat":
            assert found.ram == layout.ram
        if format != "dtb":
            assert [(r.start, r.end, r.node) for r in found.srat] == [
                (r.start, r.end, r.node) for r in layout.srat
            ]

    def test_a_dash_writes_the_layout_alone(self, capsys):
        code, out, _ = self.run(capsys, "--ram", "8G", "-o", "-", "--format", "e820")
        assert code == 0 and out.startswith("BIOS-provided physical RAM map:\n")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "plan needs --ram, or --node-sizes"),
            (("--ram", "3TB"), "--ram: '3TB': units are binary here, write 3T or 3 TiB"),
            (("--ram", "3.5G"), "no multiple of the granule, 1 GiB"),
            (("--ram", "3G", "--nodes", 4), "does not give 4 nodes a granule of 1 GiB each"),
            (("--ram", "8G", "--nodes", 0), "nodes is a number from 1 to 4096, got 0"),
            (("--ram", "8G", "--spacing", "0"), "--spacing: 0 would put all nodes in one place"),
            (("--ram", "8T", "--nodes", 8, "--spacing", "512G"), "and node 1"),
            (("--ram", "8G", "--node-sizes", "1G"), "--node-sizes stands for --ram and --nodes"),
            (("--ram", "8G", "--profiles", "x"), "unknown profile 'x'"),
            (("--ram", "8P"), "past the highest address 2^52"),
            (("--ram", "8G", "-o", "/nowhere/x"), "/nowhere/x: its folder is not there (mkdir -p /nowhere)"),
        ],
    )
    def test_one_line_for_what_is_wrong(self, capsys, words, message):
        code, out, err = self.run(capsys, *words)
        assert (code, out) == (2, "")
        assert err.startswith("xenmm: error: ") and err.count("\n") == 1 and message in err
