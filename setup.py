"""Build of the two Cython extensions; everything else stands in pyproject.toml."""

import glob
import os

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = bool(os.environ.get("XENMM_DEBUG"))
FLAGS = ["-O1", "-g"] if DEBUG else ["-O3", "-falign-loops=64", "-fno-semantic-interposition"]
DIRECTIVES = {
    "language_level": 3,
    "binding": False,
    "boundscheck": DEBUG,
    "wraparound": DEBUG,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
}


def extension(name):
    import numpy

    return Extension(
        f"xenmm.{name}",
        [f"xenmm/{name}.pyx"],
        depends=glob.glob("xenmm/*.h") + glob.glob("xenmm/include/*.h"),
        include_dirs=["xenmm", "xenmm/include", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=FLAGS,
    )


NAMES = [n for n in ("_core", "_timing", "_machine") if os.path.exists(f"xenmm/{n}.pyx")]
setup(ext_modules=cythonize([extension(n) for n in NAMES], compiler_directives=DIRECTIVES))
