"""Completion in real shells: subcommands, options, and the names of machines, profiles and uarchs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from terminal import ANSI

from xenmm import cli
from xenmm.studies.completion_cli import SHELLS, script

pytest.importorskip("shtab", reason="shtab is not installed")

WANTED = {
    ("re",): {"report", "replay"},
    ("report", "taishan"): {"taishan200-4node"},
    ("report", "this-m"): {"this-machine"},
    ("report", "serv"): {"server.dmesg"},
    ("boot", "dell-r930", "--profile", "xen-m"): {"xen-mask"},
    ("replay", "dell-r930", "--uarch", "zen"): {"zen2", "zen3", "zen4", "zen5"},
    ("export", "dell-r930", "--format", "iom"): {"iomem"},
    ("boot", "dell-r930", "--page-s"): {"--page-sizes"},
    ("completion", "ba"): {"bash"},
}

BASH = """
source ./script
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
  function=$(complete -p xenmm | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
  $function xenmm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
  printf '%s\\n' "${COMPREPLY[@]}"
}
complete_words xenmm "$@"
"""
# The completion system of zsh wants a terminal, which its own module makes.
ZSH = """
zmodload zsh/zpty
zpty shell 'zsh -f -i'
zpty -w shell "PS1=; cd $PWD; fpath=($PWD \\$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell 'setopt no_beep; LISTMAX=1000; bindkey "^I" list-choices; print READ''Y'
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
zpty -w -n shell "xenmm $*"$'\\t'
sleep 3
zpty -w -n shell $'\\x15'
zpty -w shell 'print DON''E'
while zpty -r shell line; do print -r -- "$line"; [[ $line == *DONE* ]] && break; done
zpty -d shell
"""


def script_in(folder, shell, name="script"):
    (folder / name).write_text(script(cli.make_parser(), shell))
    (folder / "server.dmesg").touch()


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@needs("bash")
@pytest.mark.parametrize("words", WANTED)
def test_bash(tmp_path, words):
    script_in(tmp_path, "bash")
    run = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert (set(run.stdout.split()), run.stderr) == (WANTED[words], "")


@needs("fish")
@pytest.mark.parametrize("words", WANTED)
def test_fish(tmp_path, words):
    script_in(tmp_path, "fish")
    line = " ".join(("xenmm", *words))
    run = subprocess.run(
        ["fish", "--no-config", "-c", f"source script; complete -C '{line}'"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert ({found.split("\t")[0] for found in run.stdout.splitlines()}, run.stderr) == (WANTED[words], "")


@needs("zsh")
@pytest.mark.parametrize(
    "words", [("report", "taishan"), ("boot", "dell-r930", "--profile", "xen-m"), ("mac",)]
)
def test_zsh(tmp_path, words):
    script_in(tmp_path, "zsh", "_xenmm")
    run = subprocess.run(
        ["zsh", "-f", "-c", ZSH, "zsh", *words], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    wanted = {("mac",): {"machines"}, **WANTED}[words]
    shown = ANSI.sub("", run.stdout)
    assert all(word in shown for word in wanted) and run.stderr == "", shown


@needs("zsh")
def test_zsh_finds_no_fault_in_its_script(tmp_path):
    script_in(tmp_path, "zsh", "_xenmm")
    assert subprocess.run(["zsh", "-n", "_xenmm"], cwd=tmp_path, capture_output=True).stderr == b""


@pytest.mark.parametrize("shell", SHELLS)
def test_command_prints_it(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert out.rstrip("\n") == script(cli.make_parser(), shell).rstrip("\n")
    assert "taishan200-4node" in out and "xen-offset" in out and "zen3" in out


def test_without_shtab_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert "pip install 'xenmm[completion]'" in capsys.readouterr().err
