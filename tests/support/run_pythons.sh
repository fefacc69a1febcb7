#!/usr/bin/env bash
# The wheel of every Python from 3.11 on that is found here, each with the tests.
#
#   tests/support/run_pythons.sh [pytest arguments]
#
# Looked for on the path, and where pyenv keeps its own. A Python of 3.11 to 3.14 that is not found is named as
# untested.
set -euo pipefail

tree=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- tests
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
for version in 3.11 3.12 3.13 3.14; do
  python=
  for candidate in "$(command -v "python$version" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
    if [ -x "$candidate" ] && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      python=$candidate
    fi
  done
  if [ -z "$python" ]; then
    echo "Python $version: untested, since there is none here"
    continue
  fi
  folder=$scratch/$version
  mkdir "$folder"
  (cd "$tree" && git ls-files -z --cached --others --exclude-standard |
    tar -c --null -T - --ignore-failed-read) | tar -x -C "$folder"
  "$python" -m venv "$folder/.venv"
  pip=("$folder/.venv/bin/python" -m pip --quiet --disable-pip-version-check)
  "${pip[@]}" install --upgrade 'pip>=25.1'
  (cd "$folder" && "${pip[@]}" install --group test && "${pip[@]}" wheel --no-deps --no-build-isolation -w dist .)
  "${pip[@]}" install "$folder"/dist/*.whl
  # Only the wheel is left to be tested, not the tree that it was built from.
  rm -rf "$folder/xenmm"/*.so "$folder/build"
  mv "$folder/xenmm" "$folder/xenmm-source"
  if (cd "$folder" && .venv/bin/python -m pytest -q -p no:cacheprovider "$@" >log 2>&1); then
    echo "Python $("$python" -V | cut -d' ' -f2): $(tail -1 "$folder/log")"
  else
    failed=1
    tail -30 "$folder/log"
    echo "Python $("$python" -V | cut -d' ' -f2): failed"
  fi
done
exit $failed
