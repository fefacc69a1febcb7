#!/usr/bin/env bash
# The lowest versions that pyproject.toml allows: the wheel built with them, and the fast tests run with them.
#
#   tests/support/run_lowest.sh PYTHON [pytest arguments]
set -euo pipefail

python=$1
shift
tree=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- tests/boot/test_host.py tests/boot/test_golden.py tests/firmware/test_read_map.py \
  tests/firmware/test_elf_core.py \
  tests/test_core_scalars.py tests/test_core_arrays.py tests/test_facts.py tests/embed/test_numba.py \
  tests/embed/test_unicorn.py tests/report tests/machine/test_state.py tests/machine/test_checkpoint.py \
  tests/timing/test_replay.py tests/test_cli.py

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
lowest() { "$python" "$tree/tests/support/lowest.py" "$tree/pyproject.toml" "$@"; }

# A copy, so that what another Cython makes of the source does not lie in the tree. The tests are of the same moment.
mkdir "$scratch/source"
(cd "$tree" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null -T - --ignore-failed-read) | tar -x -C "$scratch/source"
cp -r "$scratch/source"/{tests,pyproject.toml,examples,docs,benchmarks} "$scratch/"
"$python" -m venv "$scratch/build"
mapfile -t pinned < <(lowest build)
"$scratch/build/bin/pip" install --quiet --disable-pip-version-check wheel "${pinned[@]}"
"$scratch/build/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$scratch" "$scratch/source"

"$python" -m venv "$scratch/run"
mapfile -t pinned < <(lowest dependencies test numba unicorn rich plot)
echo "${pinned[*]}"
"$scratch/run/bin/pip" install --quiet --disable-pip-version-check "$scratch"/*.whl "${pinned[@]}"
cd "$scratch"
# An old matplotlib uses words that a new pyparsing calls old: that is theirs.
"$scratch/run/bin/python" -m pytest -q -p no:cacheprovider -W ignore::DeprecationWarning "$@"
