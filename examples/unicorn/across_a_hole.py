"""Guest x86-64 code that copies a page from one node's memory to another's, through the direct map.

The machine has two nodes with a hole between them, so that consecutive direct-map addresses are far apart in
machine memory. The guest knows nothing of that: it copies eight bytes at a time.
"""

import unicorn
from unicorn.x86_const import UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RSI

import xenmm
from xenmm.embed.unicorn import attach

MIB, GIB = 1 << 20, 1 << 30
NODES = [(0, 2 * GIB), (1024 * GIB, 1026 * GIB)]

host = xenmm.boot(xenmm.MemoryMap.from_ranges(NODES, NODES), profile="xen-offset")
uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
for start, end in NODES:
    uc.mem_map(start, end - start)
attachment = attach(uc, host)

# The last page of the first node, and the first of the second: neighbours in the direct map.
source, target = (2 * GIB >> 12) - 1, 1024 * GIB >> 12
uc.mem_write(source << 12, bytes(range(256)) * 16)

CODE = MIB
uc.mem_write(CODE, b"\xf3\x48\xa5")  # rep movsq
uc.reg_write(UC_X86_REG_RSI, host.mfn_to_virt(source))
uc.reg_write(UC_X86_REG_RDI, host.mfn_to_virt(target))
uc.reg_write(UC_X86_REG_RCX, 4096 // 8)
uc.emu_start(CODE, CODE + 3)

assert uc.mem_read(target << 12, 4096) == uc.mem_read(source << 12, 4096)
print(f"copied {host.mfn_to_virt(source):#x} to {host.mfn_to_virt(target):#x} in the direct map:")
print(f"machine memory {source << 12:#x} to {target << 12:#x}, {attachment.fills} TLB fills")
