"""What differs between maps, hosts and results: nothing missed, nothing made up."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xenmm
from xenmm import cli
from xenmm.errors import ConfigError
from xenmm.maps import path
from xenmm.studies.compare import compare
from xenmm.studies.compare_maps import map_changes
from xenmm.studies.compare_results import differences

MIB, GIB = 1 << 20, 1 << 30


def machine(ram, srat=None, name="m"):
    return xenmm.MemoryMap.from_ranges(ram, srat, name=name)


def how(a, b, srat_a=None, srat_b=None):
    found = map_changes(machine(a, srat_a), machine(b, srat_b))
    return [(c.what, c.how, c.a and c.a[:2], c.b and c.b[:2]) for c in found]


class TestMaps:
    def test_the_four_ways(self):
        assert how([(0, 4)], [(0, 4)]) == []
        assert how([(0, 4), (8, 9)], [(0, 4)]) == [("ram", "removed", (8, 9), None)]
        assert how([(0, 4)], [(0, 4), (8, 9)]) == [("ram", "added", None, (8, 9))]
        assert how([(0, 4), (8, 9)], [(0, 4), (18, 19)]) == [("ram", "moved", (8, 9), (18, 19))]
        assert how([(0, 4), (8, 9)], [(0, 5), (8, 9)]) == [("ram", "resized", (0, 4), (0, 5))]
        assert how([(2, 8)], [(3, 8)]) == [("ram", "resized", (2, 8), (3, 8))]

    def test_rows_that_touch_are_the_same_memory(self):
        assert how([(0, 4), (4, 8)], [(0, 8)]) == []

    def test_srat_rows_with_node_and_flags(self):
        ram = [(0, 8)]
        assert how(ram, ram, [(0, 8, 1, 0)], [(0, 8, 1, 1)]) == [("srat", "changed", (0, 8), (0, 8))]
        assert how(ram, ram, [(0, 8, 1, 0)], [(0, 8, 3, 0)]) == [("srat", "changed", (0, 8), (0, 8))]
        assert how(ram, ram, [(0, 8)], None) == [("srat", "removed", (0, 8), None)]
        # No SRAT and one without rows differ, too, though no row does.
        assert not compare(machine(ram, None), machine(ram, [])).same

    edges = st.lists(st.integers(0, 40), min_size=2, max_size=12, unique=True)

    @given(edges, edges)
    def test_changes_turn_one_map_into_the_other(self, a, b):
        def pages(edges):
            edges = sorted(edges)[: len(edges) // 2 * 2]
            ranges = list(zip(edges[::2], edges[1::2], strict=True))
            return ranges, {p for start, end in ranges for p in range(start, end)}

        (ram_a, pages_a), (ram_b, pages_b) = pages(a), pages(b)
        found = map_changes(machine(ram_a), machine(ram_b))
        left = {p for c in found if c.a for p in range(*c.a[:2])}
        come = {p for c in found if c.b for p in range(*c.b[:2])}
        assert (pages_a - left) | come == pages_b
        assert bool(found) == (pages_a != pages_b)
        # The other way round it is the same list, turned.
        turned = map_changes(machine(ram_b), machine(ram_a))
        opposite = {"added": "removed", "removed": "added"}
        assert sorted(opposite.get(c.how, c.how) for c in turned) == sorted(c.how for c in found)


class TestHosts:
    def test_every_figure_is_of_the_hosts(self):
        found = compare("taishan200-4node", profile_a="fold", profile_b="xen-offset")
        a, b = (xenmm.boot(path("taishan200-4node"), p) for p in ("fold", "xen-offset"))
        figures = {f.path: (f.a, f.b) for f in found.figures}
        assert figures["total_bytes"] == (a.overhead().costs.total, b.overhead().costs.total)
        assert figures["lost_bytes"] == (a.plan.lost_bytes, b.plan.lost_bytes)
        differing = {name for name in a.params if a.params[name] != b.params[name]}
        assert {p.path for p in found.parameters} == differing
        gained = {h.code for _, h in found.hazards if h} - {h.code for h, _ in found.hazards if h}
        assert gained == {h.code for h in b.hazards} - {h.code for h in a.hazards}
        assert not found.changes and not found.same

    @pytest.mark.parametrize("profile", ["pre", "sparse-m2p", "xen-mask", "xen-offset"])
    def test_a_host_is_the_same_as_itself(self, profile):
        assert compare("dell-r930", "dell-r930", profile_a=profile).same

    def test_profiles_that_differ_in_time_alone_have_the_same_memory(self):
        assert compare("dell-r930", profile_a="map-page", profile_b="cse").same

    def test_two_machines_show_both_their_memory_and_what_comes_of_it(self):
        a = machine([(MIB, 2 * GIB), (4 * GIB, 8 * GIB)], [(0, 8 * GIB)], "a")
        b = machine([(MIB, 2 * GIB), (4 * GIB, 12 * GIB)], [(0, 12 * GIB)], "b")
        found = compare(xenmm.boot(a), xenmm.boot(b))
        assert {c.what for c in found.changes} == {"ram", "srat"}
        assert {f.path for f in found.figures} >= {"ram_bytes", "frame_table_bytes", "m2p_bytes"}
        assert "a, xen-offset" in str(found) and "+4 GiB" in str(found)

    def test_options_of_boot_hold_for_both(self):
        found = compare("taishan200-4node", profile_a="pre", profile_b="fold", page_sizes="2m")
        totals = [
            xenmm.boot(path("taishan200-4node"), p, page_sizes="2m").overhead().costs.total
            for p in ("pre", "fold")
        ]
        figures = {f.path: [f.a, f.b] for f in found.figures}
        assert figures.get("total_bytes", totals) == totals
        assert found.to_dict()["options"]["page_sizes"] == "2m"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


class TestResults:
    @given(st.dictionaries(st.sampled_from("abc"), json_values))
    def test_a_result_is_the_same_as_its_copy(self, document):
        assert list(differences(document, copy.deepcopy(document))) == []

    @given(
        st.dictionaries(st.sampled_from("abc"), json_values),
        st.dictionaries(st.sampled_from("abc"), json_values),
    )
    def test_different_results_differ(self, a, b):
        assert bool(list(differences(a, b))) == (
            json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True)
        )

    @pytest.mark.parametrize("wrong", [float("inf"), float("nan"), b"x", {1, 2}])
    def test_what_is_no_json_is_no_result(self, wrong):
        with pytest.raises(ConfigError, match="a result is a tree of JSON"):
            compare({"schema": "a", "x": [wrong]}, {"schema": "a"})

    def test_rows_are_matched_by_what_names_them(self):
        a = {"steps": [{"profile": "pre", "bytes": 100}, {"profile": "fold", "bytes": 50}]}
        b = {"steps": [{"profile": "fold", "bytes": 25}, {"profile": "cse", "bytes": 1}]}
        found = list(differences(a, b))
        assert [(d.path, d.only) for d in found] == [
            ("steps[pre]", "a"),
            ("steps[fold].bytes", ""),
            ("steps[cse]", "b"),
        ]
        assert found[1].relative == -0.5

    def test_no_relative_change_of_nothing_or_of_what_is_no_number(self):
        (a,), (b,), (c,) = (
            list(differences({"x": p}, {"x": q})) for p, q in ((0, 3), (True, False), ("3", "4"))
        )
        assert (a.relative, b.relative, c.relative) == (None, None, None)
        # True is not 1.
        assert list(differences({"x": True}, {"x": 1}))

    @pytest.mark.parametrize(
        "words",
        [
            ("report", "{}", "--json"),
            ("boot", "{}", "--json"),
            ("steps", "{}", "--size", "64", "--json"),
            ("replay", "{}", "--workload", "sequential", "--accesses", "1000", "--json"),
        ],
        ids=lambda words: words[0],
    )
    def test_what_each_command_writes_can_be_compared(self, tmp_path, capsys, words):
        for name in ("dell-r930", "taishan200-4node"):
            given = [w.format(name) for w in words]
            assert cli.main([*given, str(tmp_path / f"{name}.json")]) == 0
        capsys.readouterr()
        a, b = (str(tmp_path / f"{name}.json") for name in ("dell-r930", "taishan200-4node"))
        assert cli.main(["compare", a, a]) == 0
        assert capsys.readouterr().out.endswith("\nnothing differs\n")
        assert cli.main(["compare", a, b]) == 1
        assert "%" in capsys.readouterr().out

    def test_cells_of_a_sweep_can_be_compared(self, tmp_path):
        xenmm.sweep("dell-r930", tmp_path / "out", profiles=["fold", "pre"], workers=0)
        cells = sorted((tmp_path / "out" / "cells").rglob("*.json"))
        found = compare(*cells)
        assert "settings.profile" in {f.path for f in found.figures}


class TestCommandLine:
    def run(self, capsys, *words):
        code = cli.main(["compare", *map(str, words)])
        return (code, *capsys.readouterr())

    def test_exit_codes_are_diffs(self, capsys):
        assert self.run(capsys, "dell-r930", "dell-r930")[0] == 0
        assert self.run(capsys, "dell-r930", "taishan200-4node")[0] == 1
        assert self.run(capsys, "dell-r930", "--profile-a", "fold", "--profile-b", "xen-offset")[0] == 1
        assert self.run(capsys, "dell-r930", "taishan200-4node", "--profile", "xen-mask")[0] == 1

    def test_json_holds_what_the_text_says(self, capsys):
        code, out, _ = self.run(capsys, "dell-r930", "taishan200-4node", "--profile", "pre", "--json", "-")
        facts = json.loads(out)
        assert code == 1 and facts["schema"] == "xenmm-compare/1" and not facts["same"]
        assert facts == json.loads(
            json.dumps(
                compare(
                    "dell-r930", "taishan200-4node", profile_a="pre", page_sizes="1g", compat_m2p=None,
                    hotplug=None, stack_guards=False, command_line=None,
                ).to_dict()
            )
        )  # fmt: skip

    @pytest.mark.parametrize("width", [80, 120])
    def test_the_text_fits(self, capsys, width):
        for words in (
            ("dell-r930", "amd-purico-1536g", "--profile", "xen-offset"),
            ("taishan200-4node", "--profile-a", "pre", "--profile-b", "xen-mask"),
        ):
            _, out, _ = self.run(capsys, *words, "--width", width)
            assert max(map(len, out.splitlines())) <= width

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("dell-r930",), "compare needs B, or --profile-a and --profile-b"),
            (("dell-r930", "--profile-a", "pre"), "compare needs B"),
            (("-", "-"), "standard input can be read once only"),
            (("dell-r930", "nowhere"), "no such file, and no bundled machine of that name: 'nowhere'"),
            (("dell-r930", "dell-r930", "--profile", "x"), "unknown profile 'x'"),
            (("dell-r930", "RESULT"), "a map and a result cannot be compared"),
            (("RESULT", "OTHER"), "results of different kinds cannot be compared: xenmm-x/1 and xenmm-y/1"),
            (("RESULT", "RESULT", "--profile", "pre"), "profiles boot maps"),
        ],
    )
    def test_one_line_for_what_is_wrong(self, capsys, tmp_path, words, message):
        for name, schema in (("RESULT", "xenmm-x/1"), ("OTHER", "xenmm-y/1")):
            (tmp_path / name).write_text(json.dumps({"schema": schema}))
        given = [tmp_path / w if w.isupper() else w for w in words]
        code, out, err = self.run(capsys, *given)
        assert (code, out) == (2, "")
        assert err.startswith("xenmm: error: ") and err.count("\n") == 1 and message in err


def test_the_api_refuses_what_does_not_fit():
    host = xenmm.boot(path("dell-r930"))
    with pytest.raises(ConfigError, match="a host and a map cannot be compared"):
        compare(host, "dell-r930")
    with pytest.raises(ConfigError, match="options of boot need a profile"):
        compare("dell-r930", "dell-r930", page_sizes="2m")
