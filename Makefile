# make run   a private environment in .venv, the build, and the report of a bundled machine
# make test  the same environment, and the test suite
# make help  the rest

PYTHON  ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
CC      ?= cc
VENV    := .venv
BIN     := $(VENV)/bin
MACHINE ?= taishan200-4node
PYTEST_ARGS ?=

SOURCES := setup.py pyproject.toml xenmm/_kernels.c $(wildcard xenmm/*.pyx xenmm/*.pxd xenmm/machine/*.px[di] xenmm/*.h xenmm/include/*.h)
# Some of the tools call others by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP     := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test asan tsan memcheck torture coverage leaks long-replay lowest pythons mutate fuzz api peers packages lint types docs figures \
  dist check-dist clean help
.DELETE_ON_ERROR:

run: $(VENV)/built
	@$(BIN)/xenmm report $(MACHINE)

test: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python -m pytest $(PYTEST_ARGS)

peers: $(VENV)/peers-packages $(VENV)/browser-packages

# Everything that any of these commands installs, for two of them to run at once.
packages: $(addprefix $(VENV)/,$(addsuffix -packages,build test peers browser coverage mutation fuzz lint docs dist))

# The whole suite takes a quarter of an hour; ASAN_TESTS="tests/test_core_arrays.py ..." is quicker.
asan: $(VENV)/built $(VENV)/test-packages
	RECORD=$(RECORD) tests/support/run_sanitized.sh address $(CURDIR)/$(BIN)/python $(ASAN_TESTS)

tsan: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python -m pytest -q tests/test_race.py
	RECORD=$(RECORD) tests/support/run_sanitized.sh thread $(CURDIR)/$(BIN)/python $(TSAN_TESTS)

memcheck: $(VENV)/built $(VENV)/test-packages
	PYTHONPATH=tests/support $(BIN)/python tests/support/memcheck.py $(if $(RECORD),--record $(RECORD))

# Lines and branches of the floors up to boot; below 95% in any module it fails.
coverage: $(VENV)/built $(VENV)/test-packages $(VENV)/coverage-packages
	tests/support/run_coverage.sh $(CURDIR)/$(BIN)/python $(COVERAGE_TESTS)

leaks: $(VENV)/built $(VENV)/test-packages
	PYTHONPATH=tests/support $(BIN)/python tests/support/leaks.py $(RECORD)

# A thousand million accesses, every count checked.
long-replay: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python tests/support/long_replay.py 1000000000 $(RECORD)

# The lowest versions that pyproject.toml allows, in environments of their own.
lowest: $(VENV)/python
	tests/support/run_lowest.sh $(CURDIR)/$(BIN)/python $(LOWEST_TESTS)

# The wheel of each Python that is found here, with the tests; PYTHONS_ARGS="--only 3.12 --record FILE".
pythons: $(VENV)/test-packages
	$(BIN)/python tests/support/run_pythons.py $(PYTHONS_ARGS) $(PYTHONS_TESTS)

# A seeded sample of changes to a group of files; a change that no test notices is listed.
GROUP ?= boot
COUNT ?= 20
MUTATOR := mutate$(if $(filter $(GROUP),boot firmware machine timing),_python)$(if $(filter %-outside,$(GROUP)),_outside)
mutate: $(VENV)/built $(VENV)/test-packages $(VENV)/mutation-packages
	PYTHONPATH=tests/support $(BIN)/python tests/support/$(MUTATOR).py $(GROUP) $(COUNT) $(MUTATE_ARGS)

# Each reader under atheris: TARGET=text|srat|dtb|elf|trace|checkpoint, SECONDS of processor time.
TARGET  ?= text
SECONDS ?= 60
fuzz: $(VENV)/built $(VENV)/test-packages $(VENV)/fuzz-packages
	$(BIN)/python tests/support/fuzz.py $(TARGET) --seconds $(SECONDS) $(FUZZ_ARGS)

# Everything against the slow models for as long as asked; a failure becomes a test in tests/regress/.
torture: SECONDS = 600
torture: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python tests/support/torture.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST)) \
	  $(if $(RECORD),--json $(RECORD))

# Every public callable with hostile arguments; SECONDS of processor time.
api: SECONDS = 60
api: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python tests/support/run_api.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record $(RECORD))

lint: $(VENV)/built $(VENV)/lint-packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint $(wildcard xenmm/*.pyx xenmm/*.pxd xenmm/machine/*.px[di])

# With what the tests need, since some of it has types that ours are made of.
types: $(VENV)/built $(VENV)/test-packages $(VENV)/lint-packages
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest $(patsubst xenmm/%.pyx,xenmm.%,$(wildcard xenmm/*.pyx)) --ignore-missing-stub

# Every warning is an error: a reference that leads nowhere, a figure that is not today's.
docs: $(VENV)/built $(VENV)/test-packages $(VENV)/docs-packages
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

figures: $(VENV)/built $(VENV)/test-packages
	$(BIN)/python tests/support/doc_figures.py

dist: $(VENV)/built $(VENV)/dist-packages
	rm -rf dist
	$(BIN)/python tests/support/build_dist.py dist

check-dist: dist
	$(BIN)/cffconvert --validate
	$(BIN)/python tests/support/check_dist.py dist
	$(BIN)/python tests/support/build_again.py dist --wheel

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info xenmm/*.so xenmm/_facts.c xenmm/_core.c xenmm/_timing.c xenmm/_machine.c xenmm/_embed.c

help:
	@sed -n 's/^# make /make /p' Makefile
	@echo 'make peers             other programs that some tests compare with or drive (CI has them)'
	@echo 'make torture           everything against the slow models; SECONDS=600 SEED=n FIRST=n RECORD=file'
	@echo 'make asan              the tests under the address and undefined-behaviour sanitizers'
	@echo 'make tsan              what threads run at once, under the sanitizer of threads'
	@echo 'make memcheck          a short run of all that is compiled under valgrind'
	@echo 'make coverage          lines and branches that the tests of the lower floors reach'
	@echo 'make leaks             how much a process grows over many boots, conversions and machines'
	@echo 'make long-replay       a replay of a thousand million accesses, every count checked; RECORD=file'
	@echo 'make lowest            the fast tests with the lowest versions of what xenmm needs'
	@echo 'make pythons           the wheel of each Python found here, with the tests'
	@echo 'make mutate            changes operators and constants, one at a time: GROUP=boot COUNT=20'
	@echo 'make fuzz              feeds a reader what breaks readers: TARGET=text SECONDS=60'
	@echo 'make api               every public callable with arguments of every kind: SECONDS=60 SEED=n RECORD=file'
	@echo 'make lint | types      ruff and cython-lint | mypy and stubtest'
	@echo 'make docs              the documentation as HTML, in docs/_build/html'
	@echo 'make figures           puts figures and console blocks of the documentation in anew'
	@echo 'make dist | check-dist sdist, and wheels for every Python found | what they must hold, run from clean environments'
	@echo 'make clean             removes the environment and what was built'

# One stamp a step, so that the second run does none of them again. pip asks no index for what is already installed.
$(VENV)/python:
	@test -n "$(PYTHON)" || { echo 'xenmm needs Python 3.11 or newer: none found as python3 (set PYTHON=...)' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'xenmm needs Python 3.11 or newer: $(PYTHON) is older or does not run' >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'xenmm needs the venv module of $(PYTHON): install it (Debian: apt install python3-venv)' >&2; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null || \
	  { echo 'xenmm needs a C compiler: $(CC) not found; install one (Debian: apt install gcc) or set CC=...' >&2; exit 1; }
	@rm -rf $(VENV)
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/build-packages: pyproject.toml | $(VENV)/python
	@$(PIP) install --quiet 'pip>=25.1'
	@$(PIP) install --quiet --group build
	@touch $@

$(VENV)/built: $(SOURCES) | $(VENV)/build-packages
	@echo 'building xenmm in $(VENV) ...' >&2
	@CC="$(CC)" $(PIP) install --quiet --no-build-isolation --editable . >$(VENV)/build.log 2>&1 || \
	  { cat $(VENV)/build.log >&2; echo 'the build failed: its messages stand above' >&2; exit 1; }
	@touch $@

$(VENV)/%-packages: pyproject.toml | $(VENV)/build-packages
	@$(PIP) install --quiet --group $*
	@touch $@
