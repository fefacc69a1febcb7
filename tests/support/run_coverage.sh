#!/usr/bin/env bash
# Lines and branches of Python, and lines of Cython, that the tests of the floors up to boot reach.
#
#   tests/support/run_coverage.sh PYTHON [pytest arguments]
#
# Builds a copy of the tree in which every line of Cython tells when it runs, and runs the tests there. Below
# the least share in any module of those floors it ends with 1. RECORD=FILE keeps the result.
set -euo pipefail

python=$1
shift
tree=$(cd "$(dirname "$0")/../.." && pwd)
# The tests of sheer size say nothing more of lines, and take minutes where each line is told.
[ $# -gt 0 ] || set -- tests/firmware tests/boot tests/timing tests/embed tests/machine/test_own_parameters.py \
  tests/test_errors.py tests/test_public_api.py tests/test_facts.py tests/test_files.py tests/test_progress.py \
  tests/test_cli.py tests/report/test_notebook.py tests/test_core_scalars.py tests/test_core_arrays.py \
  tests/test_core_frozen.py \
  -k 'not very_many and not 100000_rows and not real_program and not the_record_is_what'

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$tree" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null -T - --ignore-failed-read) | tar -x -C "$copy"
commit=$(cd "$tree/tests/support" && "$python" -c "import records; print(records.commit())")
cd "$copy"

echo "building with a mark on every line"
XENMM_COVERAGE=1 "$python" setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; }
run=(env PYTHONPATH="$copy" "$python")
"${run[@]}" -m coverage run --rcfile=tests/support/coverage.toml -m pytest -q -p no:cacheprovider "$@" || failed=1
"${run[@]}" -m coverage json --rcfile=tests/support/coverage.toml -q -o coverage.json
failed=${failed:-0}
"${run[@]}" tests/support/coverage_floors.py coverage.json ${RECORD:+"$RECORD" "$commit"}
exit "$failed"
