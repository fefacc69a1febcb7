"""What is installed, what was built, and what is missing: ``show_config`` and ``xenmm doctor``."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .errors import need_one_of
from .version import __version__

_PACKAGE: Final = Path(__file__).parent

# What each extension module is for; which there should be, their stubs say.
_PURPOSES: Final = {
    "_core": "conversions of frames and addresses",
    "_embed": "hooks for other simulators, in C",
    "_facts": "what boot decided, as values that do not change",
    "_machine": "page_info, domains, the live M2P and grants",
    "_timing": "caches, TLBs and page walks",
}

#: Optional packages by the names that pip knows: the extra that brings each, and why one would want it.
EXTRAS: Final = {
    "numba": ("numba", "conversions inside numba-compiled loops"),
    "unicorn": ("unicorn", "a Unicorn engine whose memory is laid out by the emulated Xen"),
    "rich": ("rich", "colour and progress bars on a terminal"),
    "shtab": ("completion", "completion in bash, zsh and fish"),
    "matplotlib": ("plot", "plots"),
    "pyarrow": ("arrow", "tables of sweeps as Parquet"),
    "pyelftools": ("elf", "memory dumps in ELF"),
    "distributed": ("dask", "sweeps on a dask cluster"),
}

#: What Python calls otherwise than the registry does.
_MODULES: Final = {"pyelftools": "elftools"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: its name, whether it is well, whether xenmm needs it, and what was found."""

    name: str
    ok: bool
    needed: bool
    text: str

    @property
    def verdict(self) -> str:
        """``ok``, ``BROKEN``, or ``absent`` where xenmm does without it."""
        return "ok" if self.ok else "BROKEN" if self.needed else "absent"


def get_include() -> str:
    """Return the directory of ``xenmm.h``, for a C compiler's ``-I``; Cython finds the .pxd by itself."""
    return str(_PACKAGE / "include")


def checks() -> tuple[Check, ...]:
    """Look at everything the package needs or could use; imports what it needs, never an extra."""
    return (
        Check("xenmm", True, True, f"{__version__} in {_PACKAGE}"),
        Check("python", sys.version_info >= (3, 11), True, _python()),
        _numpy(),
        *(_extension(name) for name in sorted(p.stem for p in _PACKAGE.glob("_[a-z]*.pyi"))),
        _headers(),
        _bundled_maps(),
        _self_test(),
        *(_extra(name, *why) for name, why in EXTRAS.items()),
    )


def configuration() -> dict[str, Any]:
    """The same facts as a dictionary, for records of benchmarks and reports."""
    return {
        "xenmm": __version__,
        "python": _python(),
        "platform": platform.platform(),
        "include": get_include(),
        "checks": {c.name: {"ok": c.ok, "needed": c.needed, "text": c.text} for c in checks()},
    }


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print what is installed and built, or return it.

    Parameters
    ----------
    mode : str
        ``"stdout"`` prints one line for each thing; ``"dicts"`` returns a dictionary instead.

    Raises
    ------
    ConfigError
        For another mode.
    """
    need_one_of("mode", mode, ("stdout", "dicts"))
    if mode == "dicts":
        return configuration()
    print(render(checks()))
    return None


def render(results: tuple[Check, ...]) -> str:
    """The checks as lines of text: a mark, the name, what was found."""
    width = max(len(c.name) for c in results)
    return "\n".join(f"{c.verdict:<7} {c.name:<{width}}  {c.text}" for c in results)


def _python() -> str:
    name, version = platform.python_implementation(), platform.python_version()
    return f"{name} {version} on {platform.system()} {platform.machine()}"


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _numpy() -> Check:
    try:
        return Check("numpy", True, True, importlib.import_module("numpy").__version__)
    except Exception as e:  # A broken numpy raises whatever it likes; the doctor reports it.
        return Check("numpy", False, True, f"{_why(e)}; needed for arrays: pip install numpy")


def _extension(name: str) -> Check:
    purpose = _PURPOSES.get(name, "the package")
    try:
        module = importlib.import_module(f".{name}", __package__)
    except Exception as e:
        return Check(
            name,
            False,
            True,
            f"{_why(e)}; needed for {purpose}: build xenmm again (make run, or pip install .)",
        )
    build = getattr(module, "build_info", None)
    facts = ", ".join(f"{k} {v}" for k, v in build().items()) if build else ""
    return Check(
        name, True, True, f"{Path(module.__file__ or '').name}: {purpose}" + (f" ({facts})" if facts else "")
    )


def _headers() -> Check:
    missing = [p for p in ("include/xenmm.h", "__init__.pxd") if not (_PACKAGE / p).is_file()]
    if missing:
        return Check(
            "headers", False, True, f"{' and '.join(missing)} missing: C and Cython cannot embed xenmm"
        )
    return Check("headers", True, True, f"xenmm.h in {get_include()}, __init__.pxd for cimport")


def _bundled_maps() -> Check:
    try:
        from .maps import bundled

        count = len(bundled())
    except Exception as e:
        return Check("maps", False, True, _why(e))
    return Check("maps", count > 0, True, f"{count} bundled machines")


def _self_test() -> Check:
    # Two nodes with a hole between them; a frame of the second must survive the round trip through its page.
    try:
        from .boot.host import boot
        from .firmware.memory_map import MemoryMap

        gib = 1 << 30
        rows = [(1 << 20, 2 * gib), (64 * gib, 66 * gib)]
        host = boot(MemoryMap.from_ranges(rows, rows, name="self-test"), profile="xen-offset")
        mfn = 65 * gib >> 12
        back = host.page_to_mfn(host.mfn_to_page(mfn))
    except Exception as e:
        return Check("self-test", False, True, _why(e))
    if back != mfn:
        return Check("self-test", False, True, f"mfn {mfn:#x} came back from its page as {back:#x}")
    return Check(
        "self-test", True, True, "a machine with a hole boots, and its frames convert there and back"
    )


def _extra(name: str, extra: str, purpose: str) -> Check:
    if importlib.util.find_spec(_MODULES.get(name, name)) is None:
        return Check(name, False, False, f"for {purpose}: pip install 'xenmm[{extra}]'")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = "version unknown"
    return Check(name, True, False, f"{version}: {purpose}")
