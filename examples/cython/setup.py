"""Build with `python setup.py build_ext --inplace`, with xenmm and Cython installed."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="frames",
    ext_modules=cythonize([Extension("frames", ["frames.pyx"], extra_compile_args=["-O2"])]),
)
