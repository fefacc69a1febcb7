"""The floors of the package, from the ground up: the test of structure walks them, the docs show them."""

#: A module may import from its own floor's own folder, or from any floor below.
FLOORS = (
    ("constants", "errors", "version", "_facts", "files", "progress", "display"),
    ("firmware",),
    ("_core", "_timing", "_embed"),
    ("boot",),
    ("_machine", "_embed"),
    ("machine", "timing"),
    ("embed", "peers"),
    ("maps",),
    ("config",),
    ("report",),
    ("studies",),
    ("cli", "__init__", "__main__"),
)

#: What stands on each floor, by its first name.
PURPOSES = {
    "constants": "numbers of Xen and of x86-64, each with its source; the exceptions; whole files; a meter; "
    "the way to a notebook",
    "firmware": "what the machine says: one reader a format, one detector, one model (`MemoryMap`)",
    "_core": "compiled: conversions of scalars and arrays, the engine of caches and TLBs",
    "boot": "write-once time: compression, tables, limits, hazards; ends in a frozen `Host`",
    "_machine": "compiled: the live machine's records, heap, domains and grants",
    "machine": "run time on a host: the live machine, time",
    "embed": "what stands on time: exports to other programs, Linux's memory models on the same map",
    "maps": "bundled machines",
    "config": "what is installed and built",
    "report": "what a machine costs, for people and programs",
    "studies": "what one runs: steps, replay, bench, sweeps",
    "cli": "the command, and the face: `import xenmm`",
}
