"""Check the built sdist and wheel: what they must hold, and that the wheel alone reports a machine.

Usage: python tests/support/check_dist.py DIST_FOLDER   (from the root of the tree)
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

#: What a user or an embedder needs beside the modules: declarations, stubs, headers, data.
SHIPPED = (".py", ".pxd", ".pyi", ".h", ".toml", ".json", ".log", ".css", ".js", "py.typed")


def shipped_files(root: pathlib.Path) -> set[str]:
    """Files of the package in the tree, as paths from its root, that both archives must hold."""
    return {
        str(p.relative_to(root))
        for p in (root / "xenmm").rglob("*")
        if p.is_file() and p.name.endswith(SHIPPED) and "__pycache__" not in p.parts
    }


def require(condition: object, message: str) -> None:
    if not condition:
        sys.exit(f"check_dist: {message}")


def check_archives(dist: pathlib.Path) -> pathlib.Path:
    """Compare both archives with the tree; return the wheel."""
    wheels, sdists = sorted(dist.glob("*.whl")), sorted(dist.glob("*.tar.gz"))
    require(len(wheels) == 1 and len(sdists) == 1, f"want one wheel and one sdist, found {wheels + sdists}")
    with zipfile.ZipFile(wheels[0]) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdists[0]) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    wanted = shipped_files(pathlib.Path.cwd())
    for kind in (".pxd", ".pyi", ".log", ".json", ".css", ".js", "py.typed"):
        require(any(name.endswith(kind) for name in wanted), f"the tree itself has no {kind} to ship")
    for what, present in (("wheel", in_wheel), ("sdist", in_sdist)):
        missing = sorted(wanted - present)
        require(not missing, f"the {what} lacks {', '.join(missing)}")
    extensions = {f"xenmm/{p.stem}" for p in pathlib.Path("xenmm").glob("*.pyx")}
    sources = {f"{stem}.pyx" for stem in extensions} | {"Makefile", "setup.py", "LICENSE"}
    require(sources <= in_sdist, f"the sdist lacks {sorted(sources - in_sdist)}")
    for stem in extensions:
        found = any(n.startswith(stem + ".") and n.endswith(".so") for n in in_wheel)
        require(found, f"the wheel lacks the built {stem}")
    page = "share/man/man1/xenmm.1"
    require(any(n.endswith(page) for n in in_wheel), f"the wheel lacks {page}")
    require("docs/man/xenmm.1" in in_sdist, "the sdist lacks the manual page")
    print(
        f"{wheels[0].name}: {len(in_wheel)} files; {sdists[0].name}: {len(in_sdist)} files; nothing missing"
    )
    return wheels[0].resolve()


def check_wheel_runs(wheel: pathlib.Path) -> None:
    """Install only the wheel in a new environment and report a bundled machine, far from the tree."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = pathlib.Path(folder, "bin")

        def run(*command: object) -> str:
            return subprocess.run(
                [str(c) for c in command], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        run(binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        name = run(binaries / "python", "-c", "import xenmm.maps; print(min(xenmm.maps.bundled()))").strip()
        report = run(binaries / "xenmm", "report", name)
        require("frame table" in report.lower(), f"`xenmm report {name}` printed no report:\n{report}")
        print(f"a clean environment with only the wheel reports {name}: {len(report.splitlines())} lines")


if __name__ == "__main__":
    check_wheel_runs(check_archives(pathlib.Path(sys.argv[1])))
