"""xenmm as a user has it: the files that the wheel ships, alone, in an environment of their own.

``make check-dist`` installs the wheel itself and takes minutes; here the same files are put where pip would
put them, with the compiled modules of the tree, and the tree is out of reach. What xenmm needs and what
examples need comes from the environment that runs the tests.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import sanitized
from records import ROOT
from tree import SOURCE

import xenmm


class Installed:
    """An environment with the package in it.

    Attributes
    ----------
    python : Path
        Its interpreter.
    package : Path
        The folder of the package.
    """

    def __init__(self, folder):
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        site = Path(self._line("import sysconfig; print(sysconfig.get_paths()['purelib'])"))
        self.package = site / "xenmm"
        if SOURCE.is_dir():
            self._build(site)
        else:
            # The wheel is installed here: its files are what it ships.
            shutil.copytree(Path(xenmm.__file__).parent, self.package)
        # A folder named in a .pth is searched, and its own .pth files, by which the tree is found, are not.
        paths = sysconfig.get_paths()
        (site / "needed.pth").write_text(
            "\n".join(dict.fromkeys((paths["purelib"], paths["platlib"]))) + "\n"
        )
        found = self._line("import xenmm; print(xenmm.__file__)")
        assert Path(found).parent == self.package, found

    def _build(self, site):
        command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(site)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        for module in SOURCE.glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
            shutil.copy(module, self.package)

    def run(self, *arguments, cwd=None):
        """Run its Python; return what it printed, and fail with what it complained of."""
        done = self.start(*arguments, cwd=cwd)
        assert done.returncode == 0, f"{arguments[0]} ended with {done.returncode}:\n{done.stderr}"
        return done.stdout

    def start(self, *arguments, cwd=None):
        """Run its Python, whatever comes of it."""
        command = [str(self.python), *(str(a) for a in arguments)]
        return subprocess.run(
            command,
            cwd=cwd or "/",
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", **sanitized.environment()},
        )

    def _line(self, program):
        return self.run("-c", program).strip()
