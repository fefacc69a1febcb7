"""The list of changes that no test can notice holds no entry that has outlived its line."""

from mutants import key, listed, reason, stale
from reliability_figures import mutation_table
from tree import needs_source

ENTRY = {"file": "a.py", "text": "if a < b:", "change": "< -> <=", "reason": "both sides come to the same"}


@needs_source
def test_every_line_still_stands():
    assert stale(listed()) == []


def test_every_entry_says_why_and_none_stands_twice():
    assert all(len(entry["reason"].split()) >= 4 for entry in listed())
    assert len({key(entry) for entry in listed()}) == len(listed())


def test_a_line_that_changed_is_noticed(tmp_path):
    (tmp_path / "a.py").write_text("    if a <\n        b:\n")
    assert stale([ENTRY], tmp_path) == []
    (tmp_path / "a.py").write_text("    if a < c:\n")
    assert stale([ENTRY], tmp_path) == [ENTRY]
    (tmp_path / "a.py").unlink()
    assert stale([ENTRY], tmp_path) == [ENTRY]


def test_a_survivor_finds_its_reason_at_any_line_but_no_other_change():
    entry = listed()[0]
    survivor = {"place": f"{entry['file']}:1", "text": entry["text"], "change": entry["change"]}
    assert reason(survivor) == entry["reason"]
    assert reason({**survivor, "change": "no such"}) is None


def test_the_table_counts_with_and_without_those_that_no_test_can_notice(monkeypatch):
    entry = listed()[0]
    known = {"place": f"{entry['file']}:1", "text": entry["text"], "change": entry["change"]}
    other = {**known, "change": "no such"}
    group = {"group": "boot", "places": 50, "killed": 17, "survives": 3, "date": "2026-11-26",
             "commit": "0", "survivors": [known, other, other]}  # fmt: skip
    monkeypatch.setattr("reliability_figures.record", lambda name: {"groups": [group]})
    assert "| 20 | not kept | 17 | 85.0 | 1 | 89.5 |" in mutation_table()
    group["killed_at_first"] = 12
    assert "| 20 | 12 | 17 | 85.0 | 1 | 89.5 |" in mutation_table()
