"""Which processor this is, and the preset that is its own."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from ..errors import ConfigError
from ..timing.operations import operations


def identify(cpuinfo: str) -> str | None:
    """Return the preset of the processor that the text of ``/proc/cpuinfo`` describes, or None.

    Families and models: AMD's family 17h from model 30h is Zen 2, 19h is Zen 3 or Zen 4, 1Ah is Zen 5;
    Intel's family 6 by model, as Linux names them in arch/x86/include/asm/intel-family.h.
    """

    def field(name: str) -> str:
        found = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        return found[1].strip() if found else ""

    vendor, family, model = field("vendor_id"), field("cpu family"), field("model")
    if field("CPU part") == "0xd0c":
        return "neoverse-n1"
    if not family.isdigit() or not model.isdigit():
        return None
    f, m = int(family), int(model)
    if vendor == "AuthenticAMD":
        if f == 0x17:
            return "zen2" if m >= 0x30 else None
        if f == 0x19:
            return "zen4" if 0x10 <= m < 0x20 or 0x60 <= m < 0xB0 else "zen3"
        return "zen5" if f == 0x1A else None
    intel = {
        "nehalem": (0x1A, 0x1E, 0x1F, 0x2E),
        "westmere": (0x25, 0x2C, 0x2F),
        "skylake-sp": (0x55,),
        "icelake-sp": (0x6A, 0x6C),
        "sapphire-rapids": (0x8F, 0xCF),
    }
    found = [name for name, models in intel.items() if m in models]
    return found[0] if vendor == "GenuineIntel" and f == 6 and found else None


def this_uarch() -> str:
    """Return the preset of this machine.

    Raises
    ------
    ConfigError
        None is known.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    name = identify(text)
    if name is None:
        raise ConfigError(
            f"no preset is known for this processor; name one with --uarch: {', '.join(operations())}"
        )
    return name


def cpu_name() -> str:
    """Return the processor in words, and whether it is a virtual machine's."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = {
        k: re.search(rf"^{k}\s*:\s*(.*)$", text, re.MULTILINE) for k in ("model name", "cpu family", "model")
    }
    words = [f"{k} {m[1].strip()}" for k, m in found.items() if m]
    virtual = ", in a virtual machine" if re.search(r"^flags.*\bhypervisor\b", text, re.MULTILINE) else ""
    return ", ".join(words) + virtual
