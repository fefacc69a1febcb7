#!/usr/bin/env bash
# The extensions under gcc's AddressSanitizer and UndefinedBehaviorSanitizer, with Cython's own checks on.
#
#   tests/support/run_sanitized.sh PYTHON [pytest arguments]
#
# Builds a copy of the tree as it stands in a temporary folder, so that the ordinary build stays what it is,
# and runs the tests there: those of the compiled modules unless others are named. A finding ends it.
set -euo pipefail

python=$1
shift
tree=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- tests/test_core_scalars.py tests/test_core_arrays.py tests/test_core_frozen.py \
  tests/test_core_random_parameters.py tests/embed tests/machine tests/timing

libraries=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
case $libraries in
  /*:/*) ;;
  *) echo "gcc here has no libasan and libubsan" >&2; exit 1 ;;
esac

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$tree" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null -T - --ignore-failed-read) | tar -x -C "$copy"
cd "$copy"

sanitizers=-fsanitize=address,undefined
echo "building with $sanitizers"
CC=gcc XENMM_DEBUG=1 CFLAGS="$sanitizers -fno-sanitize-recover=undefined -fno-omit-frame-pointer" \
  "$python" setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; }

# The interpreter itself has no instruments: the libraries come first, and what it never frees is no finding.
run=(env LD_PRELOAD="$libraries" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
     PYTHONPATH="$copy" "$python")
for module in _facts _core _timing _machine _embed; do
  loaded=$("${run[@]}" -c "import xenmm.$module as module; print(module.__file__)")
  [[ $loaded == "$copy"/* ]] || { echo "$loaded would be tested instead of the copy" >&2; exit 1; }
  symbols=$(nm -D "$loaded")
  [[ $symbols == *__asan_report* && $symbols == *__ubsan_handle* ]] ||
    { echo "$loaded was built without the sanitizers" >&2; exit 1; }
done
# One test takes away the address space, without which AddressSanitizer has no place for its shadow.
"${run[@]}" -m pytest -p no:cacheprovider "$@" \
  --deselect tests/machine/test_state.py::test_no_address_space_is_a_clear_error
