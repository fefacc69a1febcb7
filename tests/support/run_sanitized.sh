#!/usr/bin/env bash
# The extensions under gcc's AddressSanitizer and UndefinedBehaviorSanitizer, with Cython's own checks on.
#
#   [RECORD=file] tests/support/run_sanitized.sh PYTHON [pytest arguments]
#
# Builds a copy of the tree as it stands in build/asan, so that the ordinary build stays what it is, and runs the
# whole suite there, or the tests that are named. sanitized.py says what is left out, and why.
set -euo pipefail

python=$1
shift
tree=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- tests

libraries=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
case $libraries in
  /*:/*) ;;
  *) echo "gcc here has no libasan and libubsan" >&2; exit 1 ;;
esac

# What was built before stays, and is built again where its source is newer.
copy=$tree/build/asan
mkdir -p "$copy"
(cd "$copy" && find . -type f ! -name '*.so' ! -name '*.c' ! -path './build/*' -delete)
(cd "$tree" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null -T - --ignore-failed-read) | tar -x -C "$copy"
cd "$copy"

sanitizers=-fsanitize=address,undefined
echo "building with $sanitizers"
CC=gcc XENMM_DEBUG=1 CFLAGS="$sanitizers -fno-sanitize-recover=undefined -fno-omit-frame-pointer" \
  "$python" setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; }

# Compilers and simulators are not what is tested: they run as ever.
mkdir -p programs
for name in cc gcc c++ g++ aarch64-linux-gnu-gcc qemu-aarch64 valgrind; do
  if real=$(command -v "$name"); then
    printf '#!/bin/sh\nexec /usr/bin/env -u LD_PRELOAD %s "$@"\n' "$real" >"programs/$name"
    chmod +x "programs/$name"
  fi
done

# The interpreter itself has no instruments: the libraries come first, and what it never frees is no finding.
# Frames on the heap (detect_stack_use_after_return) are left out: gcc 12 stores vectors of 64 bytes in them as if
# they lay at multiples of 64, which they do not.
run=(env LD_PRELOAD="$libraries" ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1
     UBSAN_OPTIONS=print_stacktrace=1 PATH="$copy/programs:$PATH"
     PYTHONPATH="$copy:$copy/tests/support" "$python")
for module in _facts _core _timing _machine _embed; do
  loaded=$("${run[@]}" -c "import xenmm.$module as module; print(module.__file__)")
  [[ $loaded == "$copy"/* ]] || { echo "$loaded would be tested instead of the copy" >&2; exit 1; }
  symbols=$(nm -D "$loaded")
  [[ $symbols == *__asan_report* && $symbols == *__ubsan_handle* ]] ||
    { echo "$loaded was built without the sanitizers" >&2; exit 1; }
done
"${run[@]}" -c 'from xenmm import _core; assert _core.build_info()["debug checks"]' ||
  { echo "an index past the end is not refused: Cython's own checks are off" >&2; exit 1; }
"${run[@]}" -m pytest -p no:cacheprovider -p sanitized --counts counts.json "$@"
if [ -n "${RECORD:-}" ]; then
  cd "$tree"
  PYTHONPATH=tests/support "$python" tests/support/sanitized.py "$copy/counts.json" "$RECORD"
fi
