#!/usr/bin/env bash
# The extensions under gcc's sanitizers, with Cython's own checks on.
#
#   [RECORD=file] tests/support/run_sanitized.sh address|thread PYTHON [pytest arguments]
#
# Builds a copy of the tree as it stands in build/sanitized, so that the ordinary build stays what it is, and runs
# tests there: under the address and undefined-behaviour sanitizers the whole suite but for what sanitized.py leaves
# out, with the reason; under that for threads the tests that start some; or the tests that are named.
set -euo pipefail

kind=$1 python=$2
shift 2
tree=$(cd "$(dirname "$0")/../.." && pwd)
case $kind in
  address)
    flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined" libraries="libasan libubsan"
    marks="__asan_report __ubsan_handle"
    [ $# -gt 0 ] || set -- tests ;;
  thread)
    flags=-fsanitize=thread libraries=libtsan marks=__tsan_write
    [ $# -gt 0 ] || set -- -k thread tests/machine/test_threads.py tests/test_processes.py tests/test_core_arrays.py \
      tests/test_core_frozen.py tests/timing/test_result.py ;;
esac

preload=
for library in $libraries; do
  found=$(gcc -print-file-name=$library.so)
  [[ $found == /* ]] || { echo "gcc here has no $library" >&2; exit 1; }
  preload=$preload${preload:+:}$found
done

# What was built before stays, and is built again where its source is newer.
copy=$tree/build/sanitized/$kind
mkdir -p "$copy"
(cd "$copy" && find . -type f ! -name '*.so' ! -name '*.c' ! -path './build/*' -delete)
commit=$(cd "$tree" && PYTHONPATH=tests/support "$python" -c 'import records; print(records.commit())')
(cd "$tree" && git ls-files -z --cached --others --exclude-standard |
  tar -c --null -T - --ignore-failed-read) | tar -x -C "$copy"
cd "$copy"

echo "building with $flags"
CC=gcc XENMM_DEBUG=1 CFLAGS="$flags -fno-omit-frame-pointer" \
  "$python" setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; exit 1; }

# Compilers, simulators and readers of manuals are not what is tested: they run as ever.
mkdir -p programs
for name in cc gcc c++ g++ aarch64-linux-gnu-gcc qemu-aarch64 valgrind groff man mandoc; do
  if real=$(command -v "$name"); then
    printf '#!/bin/sh\nexec /usr/bin/env -u LD_PRELOAD %s "$@"\n' "$real" >"programs/$name"
    chmod +x "programs/$name"
  fi
done

# The interpreter itself has no instruments: the libraries come first, and what it never frees is no finding.
# Frames on the heap (detect_stack_use_after_return) are left out: gcc 12 stores vectors of 64 bytes in them as if
# they lay at multiples of 64, which they do not.
run=(env LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1 TSAN_OPTIONS=halt_on_error=1
     UBSAN_OPTIONS=print_stacktrace=1 PATH="$copy/programs:$PATH"
     PYTHONPATH="$copy:$copy/tests/support" "$python")
for module in _facts _core _timing _machine _embed; do
  loaded=$("${run[@]}" -c "import xenmm.$module as module; print(module.__file__)")
  [[ $loaded == "$copy"/* ]] || { echo "$loaded would be tested instead of the copy" >&2; exit 1; }
  symbols=$(nm -D "$loaded")
  for mark in $marks; do
    [[ $symbols == *"$mark"* ]] || { echo "$loaded was built without $mark" >&2; exit 1; }
  done
done
"${run[@]}" -c 'from xenmm import _core; assert _core.build_info()["debug checks"]' ||
  { echo "an index past the end is not refused: Cython's own checks are off" >&2; exit 1; }
if [ "$kind" = thread ]; then
  # A race that is there must be seen: two threads convert into one array.
  "${run[@]}" tests/support/shared_array.py 2>race.log && { echo "a race that is there is not seen" >&2; exit 1; }
  grep -q 'WARNING: ThreadSanitizer: data race' race.log || { cat race.log >&2; exit 1; }
fi
rm -f outcomes.txt
"${run[@]}" -m pytest -p no:cacheprovider -p sanitized --outcomes outcomes.txt "$@"
if [ -n "${RECORD:-}" ]; then
  cd "$tree"
  PYTHONPATH=tests/support "$python" tests/support/sanitized.py "$kind" "$commit" "$RECORD" "$copy/outcomes.txt"
fi
