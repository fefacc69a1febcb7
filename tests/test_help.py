"""Help, of every subcommand there is: it fits a terminal, and its examples do what they say."""

from __future__ import annotations

import argparse
import lzma
import shlex
import shutil

import pytest

from xenmm import cli
from xenmm.maps import bundled
from xenmm.studies.steps import COMMITTED_RECORD

# What stands in examples for somebody's own files.
TRACE = "".join(f"LD {0x100000 + 64 * i:#x}\n" for i in range(100))
LACKEY = "==1== lackey\nI  04010173,3\n L 1ffeffe7c8,8\n S 1ffeffe7c8,8\n" * 10
#: They take minutes, and have tests of their own: only parsed.
ONLY_PARSED = ("bench", "sweep")


def subcommands():
    parser = cli.make_parser()
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def examples(parser):
    text = parser.epilog.partition("examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in text.splitlines() if line.strip()]


EXAMPLES = [
    example for parser in (cli.make_parser(), *subcommands().values()) for example in examples(parser)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for name in ("server.dmesg", "before.dmesg", "after.dmesg"):
        shutil.copy(bundled()["b7-ldr-hotplug-mask"], folder / name)
    (folder / "accesses.trace.xz").write_bytes(lzma.compress(TRACE.encode()))
    (folder / "lackey.txt").write_text(LACKEY)
    shutil.copy(COMMITTED_RECORD, folder / "record.json")
    for name in ("old", "new"):
        (folder / name).mkdir()
        result = str(folder / name / "replay.json")
        assert cli.main(["replay", "none", str(folder / "lackey.txt"), "--json", result]) == 0
    return folder


@pytest.fixture
def somewhere(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("name", [None, *subcommands()])
def test_help_fits_80_columns_and_has_two_examples(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = subcommands()[name] if name else cli.make_parser()
    text = parser.format_help()
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert len(examples(parser)) >= 2
    assert all(e.startswith(f"xenmm {name or ''}") for e in examples(parser))
    assert "\n\n\n" not in text


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(example, somewhere, capsys):
    words = shlex.split(example.partition(" > ")[0])[1:]
    cli.make_parser().parse_args(words)
    if words[0] in ONLY_PARSED:
        return
    assert cli.main(words) in (0, 1), capsys.readouterr().err
    assert capsys.readouterr().err == ""


def test_every_subcommand_stands_in_one_group_of_the_help():
    grouped = [name for names in cli._GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(subcommands())
    text = cli.make_parser().format_help()
    assert all(f"\n    {name} " in text for name in grouped) and all(
        f"  {title}:\n" in text for title in cli._GROUPS
    )


def test_every_option_has_a_help():
    for name, parser in subcommands().items():
        for action in parser._actions:
            assert action.help, f"{name} {action.dest}"
