"""Work for a sweep's workers that misbehaves on purpose: imported by name in the worker processes."""

import os
import signal

from xenmm.studies.sweep_cells import do_cells

#: The profile whose cell kills its worker.
POISON = "fold"


def poisoned(cells, version):
    """As do_cells, but the process dies at a cell of the profile POISON."""
    if any(cell.settings["profile"] == POISON for cell in cells):
        os.kill(os.getpid(), signal.SIGKILL)
    return do_cells(cells, version)


def modules_loaded(cells, version):
    """What a worker has imported after its cells, in place of their documents."""
    import sys

    do_cells(cells, version)
    return ["\n".join(sorted(sys.modules)).encode()] * len(cells)


def impossible(cells, version):
    raise TypeError("no such thing")
