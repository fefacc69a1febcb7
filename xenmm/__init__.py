"""xenmm: a cycle-approximate emulator of hypervisor memory, the way Xen lays it out.

>>> import xenmm
>>> host = xenmm.boot("server.dmesg", profile="xen-offset")  # doctest: +SKIP
>>> hex(host.mfn_to_virt(0x10000000))  # doctest: +SKIP

Names are imported at their first use, so that ``import xenmm`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .boot.frozen import OwnParameter
    from .boot.host import Host, boot
    from .boot.overhead import Overhead
    from .config import get_include, show_config
    from .errors import (
        ConfigError,
        FrameError,
        MachineError,
        MemoryMapError,
        WriteOnceError,
        XenmmError,
    )
    from .firmware import read_map
    from .firmware.memory_map import MemoryMap
    from .machine.machine import Machine
    from .studies.compare import Comparison, compare
    from .studies.largest_machine import largest_machine
    from .studies.layout_search import search_layouts
    from .studies.layouts import Layout
    from .studies.plan import plan
    from .studies.steps import steps
    from .studies.sweep import SweepResult, sweep
    from .timing.replay import replay

__all__ = [
    "Comparison",
    "ConfigError",
    "FrameError",
    "Host",
    "Layout",
    "Machine",
    "MachineError",
    "MemoryMap",
    "MemoryMapError",
    "Overhead",
    "OwnParameter",
    "SweepResult",
    "WriteOnceError",
    "XenmmError",
    "__version__",
    "boot",
    "compare",
    "get_include",
    "largest_machine",
    "plan",
    "read_map",
    "replay",
    "search_layouts",
    "show_config",
    "steps",
    "sweep",
]

# Where each public name lives. ``boot`` is the subpackage itself, which is callable.
_HOMES = {
    "Comparison": ".studies.compare",
    "ConfigError": ".errors",
    "FrameError": ".errors",
    "Host": ".boot.host",
    "Layout": ".studies.layouts",
    "Machine": ".machine.machine",
    "MachineError": ".errors",
    "MemoryMap": ".firmware.memory_map",
    "MemoryMapError": ".errors",
    "Overhead": ".boot.overhead",
    "OwnParameter": ".boot.frozen",
    "SweepResult": ".studies.sweep",
    "WriteOnceError": ".errors",
    "XenmmError": ".errors",
    "compare": ".studies.compare",
    "get_include": ".config",
    "largest_machine": ".studies.largest_machine",
    "plan": ".studies.plan",
    "read_map": ".firmware",
    "replay": ".timing.replay",
    "search_layouts": ".studies.layout_search",
    "show_config": ".config",
    "steps": ".studies.steps",
    "sweep": ".studies.sweep",
}


def __getattr__(name: str) -> Any:
    if name == "boot":
        return import_module(".boot", __name__)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
