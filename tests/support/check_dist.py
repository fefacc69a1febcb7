"""Check the built sdist and wheels: what they must hold, and that each wheel alone reports a machine.

Usage: python tests/support/check_dist.py DIST_FOLDER   (from the root of the tree)
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from pythons import found, untested

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


def check_archives(dist: pathlib.Path) -> dict[str, pathlib.Path]:
    """Compare the archives with the tree; return the wheel of each Python found, as ``{"3.12": path}``."""
    sdists = sorted(dist.glob("*.tar.gz"))
    require(len(sdists) == 1, f"want one sdist, found {sdists}")
    with tarfile.open(sdists[0]) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    wheels = {}
    for version in found():
        tag = f"cp{version.replace('.', '')}"
        made = sorted(dist.glob(f"*-{tag}-{tag}-*.whl"))
        require(len(made) == 1, f"want one wheel of Python {version}, found {made}")
        wheels[version] = made[0].resolve()
        check_contents(made[0], in_sdist)
    require(len(list(dist.iterdir())) == 1 + len(wheels), f"more than the archives lies in {dist}")
    return wheels


def check_contents(wheel: pathlib.Path, in_sdist: set[str]) -> None:
    """Compare a wheel and the sdist with the tree."""
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    wanted = shipped_files(pathlib.Path.cwd())
    for kind in (".pxd", ".pyi", ".log", ".json", ".css", ".js", "py.typed"):
        require(any(name.endswith(kind) for name in wanted), f"the tree itself has no {kind} to ship")
    for what, present in (("wheel", in_wheel), ("sdist", in_sdist)):
        missing = sorted(wanted - present)
        require(not missing, f"the {what} lacks {', '.join(missing)}")
    extensions = {f"xenmm/{p.stem}" for p in pathlib.Path("xenmm").glob("*.pyx")}
    sources = {f"{stem}.pyx" for stem in extensions}
    sources |= {"Makefile", "setup.py", "LICENSE", "CITATION.cff", "SECURITY.md", "docs/conf.py"}
    require(sources <= in_sdist, f"the sdist lacks {sorted(sources - in_sdist)}")
    for stem in extensions:
        found = any(n.startswith(stem + ".") and n.endswith(".so") for n in in_wheel)
        require(found, f"the wheel lacks the built {stem}")
    page = "share/man/man1/xenmm.1"
    require(any(n.endswith(page) for n in in_wheel), f"the wheel lacks {page}")
    require("docs/man/xenmm.1" in in_sdist, "the sdist lacks the manual page")
    print(f"{wheel.name}: {len(in_wheel)} files; sdist: {len(in_sdist)} files; nothing missing")


def check_wheel_runs(version: str, wheel: pathlib.Path) -> None:
    """Install only the wheel in a new environment of its Python; report a bundled machine, far from here."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([found()[version], "-m", "venv", folder], check=True)
        binaries = pathlib.Path(folder, "bin")

        def run(*command: object) -> str:
            return subprocess.run(
                [str(c) for c in command], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        run(binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        name = run(binaries / "python", "-c", "import xenmm.maps; print(min(xenmm.maps.bundled()))").strip()
        report = run(binaries / "xenmm", "report", name)
        require("frame table" in report.lower(), f"`xenmm report {name}` printed no report:\n{report}")
        doctor = run(binaries / "xenmm", "doctor")
        require(
            f"CPython {version}." in doctor, f"`xenmm doctor` ran on another Python than {version}:\n{doctor}"
        )
        require(run(binaries / "xenmm", "convert", name, "mfn:0x1000"), "`xenmm convert` printed nothing")
        run(binaries / "xenmm", "export", name, "--format", "json", "-o", "machine.json")
        example = pathlib.Path.cwd() / "examples" / "python" / "where_memory_goes.py"
        shown = run(binaries / "python", example, "machine.json")
        require("are memory" in shown, f"{example.name} said:\n{shown}")
        lines = len(report.splitlines())
        print(f"Python {version}, only the wheel: reports {name} in {lines} lines, runs {example.name}")


if __name__ == "__main__":
    for version, wheel in check_archives(pathlib.Path(sys.argv[1])).items():
        check_wheel_runs(version, wheel)
    if untested():
        print(f"untested, for no such Python is here: {', '.join(untested())}")
