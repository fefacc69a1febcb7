"""Two threads convert into one array, each its own frames: a race on purpose, for ``make tsan``."""

import threading

import numpy as np
from machines import small_host

HOST = small_host()
OUT = np.zeros(4096, np.uint64)


def work(first):
    frames = np.arange(first, first + OUT.size, dtype=np.uint64)
    for _ in range(100):
        HOST.mfn_to_virt(frames, out=OUT)


threads = [threading.Thread(target=work, args=(first,)) for first in (0x100, 0x200)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
