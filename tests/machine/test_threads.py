"""One lock a machine: operations from several threads are safe, one after the other."""

import threading

import numpy as np
from machines import small_machine

from xenmm.machine import Op


def storm(machine, domid, pages, rounds):
    """Populate, and give back, batch by batch."""
    fill = machine.ops(pages)
    fill["code"], fill["dom"], fill["frame"] = Op.POPULATE, domid, np.arange(pages)
    empty = fill.copy()
    empty["code"] = Op.REMOVE
    for _ in range(rounds):
        assert machine.run(fill.copy()) == 0
        assert machine.run(empty.copy()) == 0


def test_threads_on_one_machine_leave_it_whole():
    machine = small_machine()
    free = machine.free_pages
    domains = [machine.create_domain(i) for i in range(4)]
    failures = []

    def work(domid):
        try:
            storm(machine, domid, 500, 30)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    machine.audit().check()
    counted = machine.counters()
    assert counted["pages_allocated"] == counted["pages_freed"] + (free - machine.free_pages)
    for d in domains:
        d.destroy()
    assert machine.free_pages == free


def test_batch_releases_the_interpreter():
    # While a batch runs, another thread runs Python. A busy computer may not let it at once: a few tries.
    machine = small_machine()
    machine.create_domain(1)
    ops = machine.ops(2_000_000)
    ops["code"], ops["dom"], ops["frame"] = Op.POPULATE, 1, 3
    ops["code"][1::2] = Op.REMOVE
    for _ in range(20):
        running, ticks = threading.Event(), []

        def batch(running=running):
            running.set()
            machine.run(ops)
            running.clear()

        thread = threading.Thread(target=batch)
        thread.start()
        running.wait()
        while running.is_set() and len(ticks) < 1000:
            ticks.append(len(ticks))
        thread.join()
        assert not ops["status"].any()
        if len(ticks) == 1000:
            break
    assert len(ticks) == 1000
    machine.audit().check()
