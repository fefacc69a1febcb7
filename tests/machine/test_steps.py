"""The table of the seven steps: the direction and the size of each change, derived from its mechanism."""

import json

import pytest
from machines import RAM, SRAT, small_host

import xenmm
from xenmm import ConfigError, cli
from xenmm.maps import open_map
from xenmm.studies import steps_cli
from xenmm.studies.steps import STEPS, WORKLOADS, steps

SIZE = 300
#: The headline candidates and a bundled real machine.
MACHINES = ("candidate-8x32g-512g", "candidate-13x576m-8g", "dell-r930")
CONVERSIONS = ("mfn_to_page", "page_to_mfn", "mfn_to_virt", "mfn_valid")


@pytest.fixture(scope="module")
def tables():
    maps = {name: xenmm.read_map(open_map(name), name=name) for name in MACHINES}
    return {(name, w): steps(maps[name], w, size=SIZE) for name in MACHINES for w in WORKLOADS}


def by_profile(table):
    return {step.profile: step for step in table.steps}


def grants_of_each_kind():
    # The workloads' thirds: read-only, writable, writable with a device.
    return [len(range(kind, SIZE, 3)) for kind in range(3)]


def test_rows_are_the_series_in_order(tables):
    assert all(tuple(s.profile for s in t.steps) == STEPS for t in tables.values())
    assert tuple(steps_cli.WORKLOADS) == tuple(WORKLOADS)


def test_memory_of_a_row_is_the_boots(tables):
    for (name, _), table in tables.items():
        for step in table.steps:
            host = xenmm.boot(xenmm.read_map(open_map(name), name=name), step.profile)
            assert step.overhead == host.overhead().to_dict()
        # Steps 5 to 7 leave every table as it is.
        last = by_profile(table)["sparse-m2p"].overhead["bytes"]
        assert all(s.overhead["bytes"] == last for s in table.steps[5:])


def test_memory_steps_change_tables_in_their_direction(tables):
    for table in tables.values():
        rows = by_profile(table)
        cost = {p: rows[p].overhead["bytes"] for p in STEPS}
        # Folding shortens the frame table's index, never the M2P's; sparseness drops what holds no RAM.
        assert cost["fold"]["frame_table"] <= cost["ext5t"]["frame_table"]
        assert cost["fold"]["m2p"] == cost["ext5t"]["m2p"]
        assert rows["fold"].virtual_bytes <= rows["ext5t"].virtual_bytes
        assert cost["sparse-frametable"]["frame_table"] <= cost["fold"]["frame_table"]
        assert cost["sparse-frametable"]["m2p"] == cost["fold"]["m2p"]
        assert cost["sparse-m2p"]["m2p"] <= cost["sparse-frametable"]["m2p"]
        assert cost["sparse-m2p"]["frame_table"] == cost["sparse-frametable"]["frame_table"]


def test_memory_steps_leave_the_work_as_it_is(tables):
    for key, table in tables.items():
        works = [s.work for s in table.steps[:5] if s.work is not None]
        counts = {tuple(w.counters[c] for c in CONVERSIONS) for w in works}
        assert len(counts) == 1, key


def test_map_page_saves_one_unsqueeze_and_one_squeeze_a_mapping_of_a_page(tables):
    for table in tables.values():
        before, after = by_profile(table)["sparse-m2p"].work, by_profile(table)["map-page"].work
        mapped = after.counters["page_to_virt"]
        assert before.counters["page_to_virt"] == 0
        assert before.unsqueezes - after.unsqueezes == mapped
        assert before.squeezes - after.squeezes == mapped
        assert before.operations == after.operations


def test_map_page_counts_the_mappings_of_the_workload(tables):
    for name in MACHINES:
        build = by_profile(tables[name, "domain-build"])["map-page"].work
        # The builder maps each page; nothing else has a page at hand.
        assert build.counters["page_to_virt"] == SIZE
        scrub = by_profile(tables[name, "page-scrub"])["map-page"].work
        assert scrub.counters["page_to_virt"] == scrub.counters["pages_scrubbed"] > SIZE
        assert by_profile(tables[name, "balloon"])["map-page"].work.counters["page_to_virt"] == 0


def test_cse_saves_what_part_10_says_for_each_grant(tables):
    readonly, writable, device = grants_of_each_kind()
    on_map, on_unmap = 0 * readonly + 1 * writable + 3 * device, 0 * readonly + 1 * writable + 2 * device
    for name in MACHINES:
        for workload, saved in (("grant-storm", on_map + on_unmap), ("dying-release", on_map + on_unmap)):
            rows = by_profile(tables[name, workload])
            before, after = rows["map-page"].work, rows["cse"].work
            assert before.counters["mfn_to_page"] - after.counters["mfn_to_page"] == saved
            assert before.unsqueezes == after.unsqueezes
        for workload in ("page-scrub", "domain-build", "balloon"):
            rows = by_profile(tables[name, workload])
            assert rows["map-page"].work.counters == rows["cse"].work.counters


def test_write_once_removes_every_read_of_a_parameter_and_nothing_else(tables):
    for table in tables.values():
        before, after = by_profile(table)["cse"].work, by_profile(table)["write-once"].work
        assert before.counters == after.counters
        assert before.parameter_reads == 3 * before.conversions > 0
        assert after.parameter_reads == 0


def test_changes_name_what_differs(tables):
    rows = by_profile(tables["candidate-8x32g-512g", "mixed"])
    assert rows["pre"].changes == ()
    assert any(c.startswith("m2p -") for c in rows["sparse-m2p"].changes)
    assert any(c.startswith("page_to_mfn -") for c in rows["map-page"].changes)
    assert [c.split()[0] for c in rows["cse"].changes] == ["mfn_to_page", "parameter"]
    assert [c.split()[0] for c in rows["write-once"].changes] == ["parameter"]


def test_cycles_follow_the_conversions(tables):
    for key, table in tables.items():
        rows = by_profile(table)
        fold, page, cse, once = (rows[p] for p in ("fold", "map-page", "cse", "write-once"))
        # What saves conversions saves cycles of both kinds; nothing else changes any.
        for before, after in ((rows["sparse-m2p"], page), (page, cse)):
            fewer = after.work.conversions < before.work.conversions
            assert all((b > a) == fewer for b, a in zip(before.cycles, after.cycles, strict=True)), key
        assert fold.cycles == rows["sparse-m2p"].cycles
        # The identity is free but for the table's arithmetic; constants leave the chain as long as it was.
        assert rows["ext5t"].cycles[0] < fold.cycles[0]
        assert once.cycles[0] == cse.cycles[0] and once.cycles[1] <= cse.cycles[1]


def test_host_and_map_give_the_same_table():
    memory_map = xenmm.MemoryMap.from_ranges(RAM, SRAT, name="small")
    from_host = xenmm.steps(small_host(), "balloon", size=20)
    assert from_host == xenmm.steps(memory_map, "balloon", size=20, page_sizes="2m")


def test_step_that_cannot_run_says_why():
    # Dense tables of a 1 TiB span do not fit into this machine.
    memory_map = xenmm.MemoryMap.from_ranges([(1 << 20, 1 << 26), ((1 << 40) - (1 << 26), 1 << 40)])
    rows = by_profile(steps(memory_map, "balloon", size=10))
    assert rows["pre"].work is None and "do not fit" in rows["pre"].why
    assert rows["sparse-m2p"].work is not None


def test_workload_too_large_for_the_machine_says_so():
    table = steps(xenmm.MemoryMap.from_ranges(RAM, SRAT), "balloon", size=1 << 21)
    assert all(s.work is None and "does not fit" in s.why for s in table.steps)


def test_record_fills_its_column(tmp_path):
    record = tmp_path / "record.json"
    ways = {"variables": 228, "constants": 153, "once": 124, "both": 135, "none": 120}
    rows = [{"compression": "mask", "calls": "opaque", "way": w, "code_bytes": b} for w, b in ways.items()]
    record.write_text(json.dumps({"freezing": rows}))
    table = steps(
        xenmm.MemoryMap.from_ranges(RAM, SRAT),
        "balloon",
        size=10,
        record=record,
    )
    assert [s.code_bytes for s in table.steps] == [120, 120, 228, 228, 228, 228, 124, 135]
    assert "not measured" not in steps_cli.render(table)


def test_committed_record_is_found_wherever_the_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    memory_map = xenmm.MemoryMap.from_ranges(RAM, SRAT)
    rows = by_profile(steps(memory_map, "balloon", size=10))
    # Less is done for a conversion: none of them, once instead of four times, without reading variables.
    assert 0 < rows["pre"].code_bytes == rows["ext5t"].code_bytes < rows["cse"].code_bytes
    assert rows["cse"].code_bytes < rows["map-page"].code_bytes == rows["fold"].code_bytes
    assert rows["write-once"].code_bytes < rows["map-page"].code_bytes
    assert all(s.code_bytes is None for s in steps(memory_map, "balloon", size=10, record=None).steps)
    assert cli.main(["steps", "dell-r930", "--size", "10", "--record", "none"]) == 0
    assert capsys.readouterr().out.count("not measured") == len(STEPS)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"workload": "storm"}, "workload: 'storm' is not one of"),
        ({"size": 0}, "size"),
        ({"uarch": "z80"}, "z80"),
        ({"size": (1 << 21) + 1}, "size"),
        ({"record": "/nonexistent.json"}, "No such file"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        steps(xenmm.MemoryMap.from_ranges(RAM, SRAT), **options)


def test_record_that_is_none_is_refused(tmp_path):
    for text in ("", "{}", "[]", '{"freezing": [{}]}'):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(ConfigError, match="no record"):
            steps(xenmm.MemoryMap.from_ranges(RAM, SRAT), record=tmp_path / "r.json")


def test_command_prints_the_table(capsys):
    assert cli.main(["steps", "candidate-8x32g-512g", "--workload", "grant-storm", "--size", "30"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{profile} " in out for profile in STEPS)
    assert "not measured" not in out
    assert cli.main(["steps", "candidate-8x32g-512g", "--size", "30", "--uarch", "none"]) == 0
    assert capsys.readouterr().out.count("not modelled") == 8
    assert cli.main(["steps", "candidate-8x32g-512g", "--size", "30", "--json", "-"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["schema"] == "xenmm-steps/1"
    assert [s["profile"] for s in table["steps"]] == list(STEPS)


def test_command_refuses_in_one_line(capsys):
    for wrong in (["steps", "no-such-machine"], ["steps", "dell-r930", "--size", "0"]):
        assert cli.main(wrong) == 2
        out = capsys.readouterr()
        assert out.out == "" and out.err.count("\n") == 1
