"""Files appear whole or not at all: after an interrupt, on a full disk, through links, pipes and devices."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading

import pytest

from xenmm import files
from xenmm.files import ensure_writable, write_whole


def only(tmp_path, *names):
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("data", "bytes_"), [("text äöü\n", "text äöü\n".encode()), (b"\0\xff", b"\0\xff"), ("", b"")]
)
def test_text_and_bytes(tmp_path, data, bytes_):
    write_whole(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == bytes_
    write_whole(str(tmp_path / "a"), b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    only(tmp_path, "a")


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("at", ["write", "replace"])
def test_what_was_there_stays_when_writing_is_stopped(tmp_path, monkeypatch, stopped_by, at):
    (tmp_path / "a").write_text("first")

    def stop(*_):
        raise stopped_by

    if at == "replace":
        monkeypatch.setattr(os, "replace", stop)
    else:

        class Stopped:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            write = stop

        def opened(path, mode):
            open(path, mode).close()
            return Stopped()

        monkeypatch.setattr(files, "open", opened, raising=False)
    with pytest.raises(KeyboardInterrupt if stopped_by is KeyboardInterrupt else OSError) as caught:
        write_whole(tmp_path / "a", "second")
    if caught.type is not KeyboardInterrupt:
        assert caught.value.filename == str(tmp_path / "a") and caught.value.strerror.startswith("No space")
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "first"
    only(tmp_path, "a")


def test_permissions_are_a_fresh_files_or_those_that_were(tmp_path):
    code = (
        "import os, sys; os.umask(0o027); from xenmm.files import write_whole; write_whole(sys.argv[1], b'x')"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a"], check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    (tmp_path / "a").chmod(0o600)
    write_whole(tmp_path / "a", b"y")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_symbolic_link_stays_one(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_text("first")
    (tmp_path / "link").symlink_to("folder/real")
    (tmp_path / "dangling").symlink_to("folder/new")
    for name in ("link", "dangling"):
        write_whole(tmp_path / name, "second")
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == "second"
    only(tmp_path / "folder", "real", "new")


def test_pipe_gets_the_bytes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole(tmp_path / "pipe", b"through")
    reader.join(30)
    assert got == [b"through"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_names_the_file():
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole("/dev/full", b"x")
    assert caught.value.filename == "/dev/full"


def test_standard_output_that_is_a_file_is_not_replaced(tmp_path):
    code = "from xenmm.files import write_whole; write_whole('/dev/stdout', b'answer')"
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        assert os.fstat(out.fileno()).st_ino == (tmp_path / "out").stat().st_ino
    assert (tmp_path / "out").read_bytes() == b"answer"


def test_folder_and_missing_folder_are_told_by_both(tmp_path):
    for function in (lambda path: write_whole(path, b""), ensure_writable):
        for path in (tmp_path / "no" / "such", tmp_path / "file" / "below"):
            (tmp_path / "file").write_bytes(b"")
            with pytest.raises(OSError) as caught:
                function(path)
            assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_file_that_may_not_be_written_is_not_replaced(tmp_path):
    (tmp_path / "a").write_text("first")
    (tmp_path / "a").chmod(0o400)
    for function in (lambda path: write_whole(path, b""), ensure_writable):
        with pytest.raises(PermissionError):
            function(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "first"


def test_folder_that_takes_no_new_file_is_written_in_place(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("first")

    def busy(*_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    write_whole(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "second"
    only(tmp_path, "a")
    with pytest.raises(OSError, match="busy"):
        write_whole(tmp_path / "b", "second")
    only(tmp_path, "a")


def test_ensure_writable_leaves_nothing_and_harms_nothing(tmp_path):
    (tmp_path / "a").write_text("first")
    for name in ("a", "b"):
        ensure_writable(tmp_path / name)
    assert (tmp_path / "a").read_text() == "first"
    only(tmp_path, "a")
