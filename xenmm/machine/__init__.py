"""Run time: a booted host with page_info records, an allocator, domains, M2P, mappings and grant tables."""

from typing import Any

__all__ = ["GNTCOPY", "GNTMAP", "GNTST", "GTF", "PTE", "Domain", "Machine", "Op", "memflags", "pte"]

_HOMES = {
    "Machine": "machine",
    "Domain": "domain",
    "Op": "ops",
    "memflags": "ops",
    "GNTST": "grant_table",
    "GNTMAP": "grant_table",
    "GNTCOPY": "grant_table",
    "GTF": "grant_table",
    "PTE": "page_table",
    "pte": "page_table",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
