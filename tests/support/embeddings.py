"""Every way to ask a host for a conversion, as one call: conversion, inputs -> answers.

Used by the test that holds them all to the slow model. What is compiled is compiled in the test's folder.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from oracle import CONVERSIONS

import xenmm
from xenmm.embed import export

ROOT = Path(xenmm.__file__).parent
ASKED = (*CONVERSIONS, "mfn_valid")
CC = shutil.which(os.environ.get("CC", "cc"))
CXX = shutil.which(os.environ.get("CXX", "c++"))
QUIET = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror"]


def run(*command, **options):
    """Run a program and return what it printed; what it complained of is the failure's text."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


def environment():
    """The environment in which another Python finds what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def build_cython(source, folder):
    """Compile a .pyx against the installed package in a folder, and import it."""
    name = Path(source).stem
    run(
        sys.executable,
        "-m",
        "cython",
        "-3",
        source,
        "-o",
        folder / f"{name}.c",
        cwd=folder,
        env=environment(),
    )
    python = sysconfig.get_paths()["include"]
    target = folder / f"{name}.so"
    run(CC, "-shared", "-fPIC", "-O1", "-w", f"-I{python}", folder / f"{name}.c", "-o", target)
    spec = importlib.util.spec_from_file_location(name, target)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def c_switch(call):
    """The cases of a C switch over the conversions; `call` gives the text of each one's answer."""
    return "\n".join(f"    case {n}: return {call(name)};" for n, name in enumerate(ASKED))


_FROZEN = """
#include "{name}.h"
static uint64_t one(int conversion, uint64_t x)
{{
    switch (conversion) {{
{cases}
    default: return 0;
    }}
}}
#ifdef __cplusplus
extern "C"
#endif
void {name}_answers(int conversion, size_t count, const uint64_t *x, uint64_t *y);
void {name}_answers(int conversion, size_t count, const uint64_t *x, uint64_t *y)
{{
    for (size_t i = 0; i < count; i++)
        y[i] = one(conversion, x[i]);
}}
"""

_GENERIC = """
#include "xenmm.h"
static uint64_t one(const xenmm_params *p, int conversion, uint64_t x)
{{
    switch (conversion) {{
{cases}
    default: return 0;
    }}
}}
void generic_answers(const xenmm_params *p, int conversion, size_t count, const uint64_t *x, uint64_t *y);
void generic_answers(const xenmm_params *p, int conversion, size_t count, const uint64_t *x, uint64_t *y)
{{
    for (size_t i = 0; i < count; i++)
        y[i] = one(p, conversion, x[i]);
}}
"""

_PYX = """
from libc.stdint cimport uint64_t
cimport xenmm

cdef uint64_t page_to_mfn_to_virt(const xenmm.xenmm_params *p, uint64_t page) noexcept nogil:
    return xenmm.mfn_to_virt(p, xenmm.page_to_mfn(p, page))

cdef uint64_t one(const xenmm.xenmm_params *p, int conversion, uint64_t x) noexcept nogil:
{cases}
    return 0

def answers(capsule, int conversion, const uint64_t[::1] x, uint64_t[::1] y):
    cdef const xenmm.xenmm_params *p = xenmm.xenmm_params_of(capsule)
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        y[i] = one(p, conversion, x[i])
"""


def _generic_call(name):
    if name == "page_to_mfn_to_virt":
        return "xenmm_mfn_to_virt(p, xenmm_page_to_mfn(p, x))"
    return f"(uint64_t)xenmm_{name}(p, x)"


def _frozen_call(prefix):
    return lambda name: f"(uint64_t){prefix}_{name}(x)"


def _pyx_case(n, name):
    call = "page_to_mfn_to_virt(p, x)" if name == "page_to_mfn_to_virt" else f"xenmm.{name}(p, x)"
    return f"    if conversion == {n}:\n        return {call}"


def _over(function, *first):
    def ask(name, x):
        y = np.empty_like(x)
        pointers = [ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)]
        function(*first, ctypes.c_int(ASKED.index(name)), ctypes.c_size_t(x.size), *pointers)
        return y

    return ask


def scalar(host):
    """The methods of one int at a time."""

    def ask(name, x):
        method = host.mfn_valid if name == "mfn_valid" else getattr(host, f"{name}_unchecked")
        return np.array([int(method(int(v))) for v in x], dtype=np.uint64)

    return ask


def array(host):
    """The methods of a whole array."""

    def ask(name, x):
        method = host.mfn_valid if name == "mfn_valid" else getattr(host, f"{name}_unchecked")
        return method(x).astype(np.uint64)

    return ask


class Compiled:
    """The Cython module, the generic header and every host's frozen header, compiled once."""

    def __init__(self, hosts, folder, compiler=None, standard="-std=c99", suffix=".c"):
        compiler = compiler or CC
        self._library = folder / "answers.so"
        self._hosts = hosts
        jobs = [("generic", _GENERIC.format(cases=c_switch(_generic_call)))] if suffix == ".c" else []
        for i, host in enumerate(hosts):
            name = f"m{i}"
            (folder / f"{name}.h").write_text(export(host, "c", prefix=name))
            jobs.append((name, _FROZEN.format(name=name, cases=c_switch(_frozen_call(name)))))

        def compile_one(job):
            name, text = job
            source = folder / f"{name}{suffix}"
            source.write_text(text)
            flags = [standard, "-O1", "-fPIC", *QUIET, f"-I{ROOT / 'include'}", f"-I{folder}"]
            run(compiler, *flags, "-c", source, "-o", folder / f"{name}.o")
            return folder / f"{name}.o"

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, jobs))
        run(compiler, "-shared", *objects, "-o", self._library)
        self._c = ctypes.CDLL(str(self._library))

    def frozen(self, i):
        """The frozen header of host number i."""
        return _over(getattr(self._c, f"m{i}_answers"))

    def generic(self, host):
        """The generic header on the struct of the host's capsule."""
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        return _over(self._c.generic_answers, ctypes.c_void_p(pointer(host.capsule, b"xenmm.xenmm_params")))


def cython_module(folder):
    """An embedder's module on the public .pxd."""
    source = folder / "embedder.pyx"
    source.write_text(_PYX.format(cases="\n".join(_pyx_case(n, name) for n, name in enumerate(ASKED))))
    return build_cython(source, folder)


def cython(module, host):
    """The .pxd's functions, called from an embedder's module."""

    def ask(name, x):
        y = np.empty_like(x)
        module.answers(host.capsule, ASKED.index(name), x, y)
        return y

    return ask


def numba(host):
    """numba's functions, called from a nopython loop over each conversion's inputs."""
    import numba as nb

    from xenmm.embed.numba import functions

    compiled = functions(host)

    def loop_of(function):
        @nb.njit
        def loop(x, y):
            for i in range(x.size):
                y[i] = function(x[i])

        return loop

    loops = {name: loop_of(getattr(compiled, name)) for name in ASKED}

    def ask(name, x):
        y = np.empty_like(x)
        # Without the compiler these are NumPy scalars, which warn where the machine's words wrap.
        with np.errstate(over="ignore"):
            loops[name](x, y)
        return y

    return ask
