"""xenmm: a cycle-approximate emulator of hypervisor memory, the way Xen lays it out."""

from .version import __version__

__all__ = ["__version__"]
