"""One host in many processes, threads and interpreters."""

import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from machines import small_host, small_machine

import xenmm
from xenmm import FrameError

FRAMES = np.arange(0x100, 0x1800, dtype=np.uint64)


def answers(host):
    """Enough of what a host says to tell it from another."""
    return (host.mfn_to_virt(FRAMES).tobytes(), host.plan, host.to_dict())


def is_same(host):
    return answers(host) == answers(small_host())


def refused(host):
    try:
        host.mfn_to_virt(1 << 50)
    except FrameError as error:
        return error


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_host_and_its_errors_go_through_a_process_pool(method):
    host = small_host()
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(is_same, [host] * 4)) == [True] * 4
        error = pool.submit(refused, host).result()
    assert type(error) is FrameError
    assert str(error) == str(refused(host))


def test_every_error_of_the_package_is_pickled_whole():
    import pickle

    kinds = [v for v in vars(xenmm.errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) >= 8
    for kind in kinds:
        again = pickle.loads(pickle.dumps(kind("what is wrong")))
        assert (type(again), str(again)) == (kind, "what is wrong")
    placed = xenmm.MemoryMapError("bad", file="f", line=3, column=4, text="x")
    again = pickle.loads(pickle.dumps(placed))
    assert str(again) == str(placed) == "f:3:4: bad: 'x'"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_both_have_machines_of_their_own():
    machine = small_machine()
    domain = machine.create_domain(1, max_pages=100)
    domain.populate(1)
    before = machine.free_pages
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            domain.populate(2)
            mapped = machine.free_pages == before - 1 and machine.audit().ok
            os.write(write, b"same" if mapped and is_same(machine.host) else b"other")
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"same"
    assert os.waitpid(child, 0)[1] == 0
    assert machine.free_pages == before
    assert machine.audit().ok
    domain.destroy()
    assert machine.audit().ok


def test_threads_convert_arrays_of_one_host_and_each_its_own():
    host = small_host()
    expected = host.mfn_to_virt(FRAMES)
    wrong = []

    def work(number):
        own = np.empty_like(FRAMES)
        mine = host if number % 2 else small_host()
        for _ in range(50):
            if (mine.mfn_to_virt(FRAMES, out=own) != expected).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        print("none")
        sys.exit()
import xenmm
rows = [(1 << 20, 1 << 30)]
print(hex(xenmm.boot(xenmm.MemoryMap.from_ranges(rows)).max_page))
text = f'''
import sys
sys.path[:0] = {sys.path!r}
import xenmm
try:
    print(hex(xenmm.boot(xenmm.MemoryMap.from_ranges({rows!r})).max_page))
except ImportError as error:
    print("refused:", error)
'''
made = interpreters.create()
interpreters.run_string(made, text)
interpreters.destroy(made)
print(hex(xenmm.boot(xenmm.MemoryMap.from_ranges(rows)).max_page))
"""


def test_a_second_interpreter_is_served_or_refused_and_the_first_goes_on():
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    if lines == ["none"]:
        pytest.skip("this Python has no module of interpreters")
    assert lines[0] == lines[-1] == "0x40000"
    assert lines[1:-1] == ["0x40000"] or lines[1].startswith("refused: ")
