"""One lock a machine: operations from several threads are safe, one after the other."""

import threading

import numpy as np
from machines import small_machine

from xenmm import MachineError
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


def test_readers_beside_batches_and_dying_domains_never_see_freed_memory():
    machine = small_machine()
    stop, failures = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                for domid in range(4):
                    facts = machine._domain(domid)
                    if facts is not None:
                        machine.domain(domid).p2m()
                        machine.domain(domid).grant_entries()
                machine._holds()
                machine.free_chunks()
            except MachineError:
                pass
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(60):
        domain = machine.create_domain(i % 4)
        storm(machine, i % 4, 200, 2)
        domain.populate(0, order=4)
        assert domain.destroy()
    stop.set()
    thread.join()
    assert not failures
    machine.audit().check()
