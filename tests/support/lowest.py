"""The lowest versions that a pyproject.toml allows, as requirements: ``lowest.py PYPROJECT PART...``.

A part is ``dependencies``, an extra or a dependency group; where several name a package, the highest bound
holds.
"""

import re
import sys
import tomllib

_BOUND = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?>=([0-9][0-9.]*)")


def bounds(project, part):
    """(package, lowest version) of a part, groups that it includes too."""
    if part == "dependencies":
        listed = project["project"]["dependencies"]
    else:
        listed = project["project"]["optional-dependencies"].get(part) or project["dependency-groups"][part]
    for item in listed:
        if isinstance(item, dict):
            # How it is built is another environment's affair.
            continue
        found = _BOUND.match(item)
        if found is None:
            raise SystemExit(f"{part}: {item!r} has no lower bound")
        yield found[1], found[2]


def main(path, *parts):
    with open(path, "rb") as file:
        project = tomllib.load(file)
    lowest = {}
    for part in parts:
        for name, version in bounds(project, part):
            key = tuple(int(n) for n in version.split("."))
            lowest[name] = max(lowest.get(name, ((), "")), (key, version))
    for name, (_, version) in lowest.items():
        print(f"{name}=={version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
