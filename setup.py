"""Build of the Cython extensions and the manual page; everything else stands in pyproject.toml."""

import os
import sys
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = bool(os.environ.get("XENMM_DEBUG"))
# Every line of Cython tells when it runs: for coverage, and for nothing else, since it is many times slower.
TRACED = bool(os.environ.get("XENMM_COVERAGE"))
# Without debugging information, which names the folder of the build.
FLAGS = ["-O3", "-falign-loops=64", "-fno-semantic-interposition", "-g0"]
if DEBUG or TRACED:
    FLAGS = ["-O0"] if TRACED else ["-O1", "-g"]
DIRECTIVES = {
    "language_level": 3,
    "binding": False,
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
    "linetrace": TRACED,
}


# What an extension holds beside its .pyx, and what it must be built again for.
SOURCES = {"_core": ["xenmm/_kernels.c"]}
DEPENDS = [
    name
    for pattern in ("*.h", "*.pxi", "*.pxd", "include/*.h", "machine/*.pxi", "machine/*.pxd")
    for name in glob(f"xenmm/{pattern}")
]


def extension(name):
    import numpy

    return Extension(
        f"xenmm.{name}",
        [f"xenmm/{name}.pyx", *SOURCES.get(name, [])],
        depends=DEPENDS,
        include_dirs=["xenmm", "xenmm/include", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
        + [("CYTHON_TRACE_NOGIL", "1")] * TRACED,
        extra_compile_args=FLAGS,
    )


class BuildExtensions(build_ext):
    """Extensions link nothing of Python's: where its libraries lie on this computer has no place in them."""

    def build_extensions(self):
        linker = self.compiler.linker_so
        self.compiler.set_executable("linker_so", [w for w in linker if not w.startswith("-Wl,-rpath")])
        super().build_extensions()


def manual_page():
    """Write the manual page from the parser, which needs nothing that is not built yet."""
    sys.path.insert(0, os.getcwd())
    from xenmm.cli import make_parser
    from xenmm.studies.man_cli import manual_page

    page = Path("docs/man/xenmm.1")
    page.parent.mkdir(exist_ok=True)
    # The same date wherever the same tree is built: when its files were written there says nothing.
    dated = os.environ.get("SOURCE_DATE_EPOCH")
    page.write_text(manual_page(make_parser(), float(dated) if dated else None))
    return str(page)


NAMES = [n for n in ("_facts", "_core", "_timing", "_machine", "_embed") if os.path.exists(f"xenmm/{n}.pyx")]
setup(
    ext_modules=cythonize([extension(n) for n in NAMES], compiler_directives=DIRECTIVES),
    cmdclass={"build_ext": BuildExtensions},
    data_files=[("share/man/man1", [manual_page()])],
)
