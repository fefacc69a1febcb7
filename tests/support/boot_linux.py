"""Boot a real Linux on odd memory maps under QEMU, and record what it made of its memory.

Usage: python tests/support/boot_linux.py VMLINUZ RECORD.json

Needs qemu-system-x86_64, a C compiler with a static libc, and the kernel of any distribution that has
CONFIG_SPARSEMEM_VMEMMAP (the committed record is of Debian's). What is recorded: the memory that the kernel
says it has; every page that maps the vmemmap, with the page tables above it, walked by QEMU; and the table of
sections, read from the guest's memory. Nothing of it comes from xenmm.
"""

import gzip
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time


def _unreserved(size: str) -> list[str]:
    """RAM larger than the machine's own, of which only what is touched exists."""
    return ["-object", f"memory-backend-ram,id=m,size={size},reserve=off", "-machine", "memory-backend=m"]


def _nodes(*sizes: str) -> list[str]:
    """A NUMA node for each size."""
    out = []
    for i, size in enumerate(sizes):
        out += ["-object", f"memory-backend-ram,id=m{i},size={size}", "-numa", f"node,nodeid={i},memdev=m{i}"]
    return out


#: RAM for QEMU, and what the kernel is told to leave alone (memmap=SIZE$START) or to use (mem=).
MACHINES = {
    "flat-2g": ("2G", "", []),
    "flat-6g": ("6G", "", []),
    "odd-end": ("5G", "memmap=0x5555000$0x169999000", []),
    "one-frame-sections": ("4G", "memmap=0x7fff000$0x10001000 memmap=0x7fff000$0x118000000", []),
    "holes-of-a-section": ("8G", "memmap=128M$1G memmap=128M$0x140000000 memmap=0x7ffe000$0x160001000", []),
    "two-nodes": ("6G", "", _nodes("2G", "4G")),
    "past-64g": ("72G", "memmap=60G$0x100000000", _unreserved("72G")),
    "far-island": ("300G", "memmap=290G$0x100000000", _unreserved("300G")),
    "five-levels": ("3G", "", ["-cpu", "max"]),
    "hot-added": ("2G,slots=2,maxmem=8G", "", []),
}

#: Memory plugged in after boot: machine to sizes.
PLUGGED = {"hot-added": ("384M", "128M")}

INIT = r"""
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
static void show(const char *path, const char *const *names)
{
    char line[512];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        for (int i = 0; names[i]; i++)
            if (strstr(line, names[i]))
                printf("RECORD %s %s", path, line);
    if (f)
        fclose(f);
}
int main(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mount("proc", "/proc", "proc", 0, 0);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    show("/proc/kallsyms", (const char *const[]){" mem_section\n", " vmemmap_base\n", 0});
    show("/proc/version", (const char *const[]){"Linux", 0});
    show("/sys/devices/system/memory/block_size_bytes", (const char *const[]){"", 0});
    puts("RECORD end");
    fflush(stdout);
    for (;;)
        pause();
}
"""


def initramfs(folder: pathlib.Path) -> pathlib.Path:
    """A cpio archive of one static program, and a console for it."""
    (folder / "init.c").write_text(INIT)
    subprocess.run(["cc", "-O1", "-static", "-o", folder / "init", folder / "init.c"], check=True)

    def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)

    archive = entry("dev", 0o040755) + entry("dev/console", 0o020600, device=(5, 1))
    archive += entry("init", 0o100755, (folder / "init").read_bytes()) + entry("TRAILER!!!", 0)
    path = folder / "init.cpio.gz"
    path.write_bytes(gzip.compress(archive))
    return path


class Monitor:
    """QEMU's monitor, asked in its own language."""

    def __init__(self, path: pathlib.Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(60)
        self._answer()

    def _answer(self) -> str:
        got = b""
        while not got.endswith(b"(qemu) "):
            got += self._socket.recv(1 << 20)
        return got.decode(errors="replace")

    def ask(self, command: str) -> str:
        self._socket.sendall(command.encode() + b"\n")
        return self._answer()

    def words(self, virt: int, count: int, physical: bool = False) -> list[int]:
        """Read 64-bit words of the guest's memory."""
        text = self.ask(f"{'xp' if physical else 'x'} /{count}gx {virt:#x}")
        rows = re.findall(r"^[0-9a-f]+: (.*?)\r?$", text, re.MULTILINE)
        return [int(w, 16) for row in rows for w in row.split()]

    def quit(self) -> None:
        self._socket.sendall(b"quit\n")


def walk(monitor: Monitor, table: int, level: int, virt: int, first: int, last: int, found: dict) -> None:
    """Count the pages of page tables and the leaves that map [first, last]."""
    for i, entry in enumerate(monitor.words(table, 512, physical=True)):
        at = virt + (i << 12 + 9 * (level - 1))
        if not entry & 1 or at + (1 << 12 + 9 * (level - 1)) <= first or at > last:
            continue
        if level == 1 or (level < 4 and entry & 0x80):
            found["leaves"].append((at, level))
        else:
            found["tables"][level - 1] = found["tables"].get(level - 1, 0) + 1
            walk(monitor, entry & 0xFFFFFFFFFF000, level - 1, at, first, last, found)


def runs(values: list[int], step: int) -> list[list[int]]:
    """Half-open runs of values that follow one another by a step."""
    out: list[list[int]] = []
    for v in values:
        if out and out[-1][1] == v:
            out[-1][1] = v + step
        else:
            out.append([v, v + step])
    return out


def record(monitor: Monitor, log: str) -> dict:
    """What the guest's memory holds."""
    symbols = {name: int(at, 16) for at, name in re.findall(r"kallsyms ([0-9a-f]+) \w (\w+)", log)}
    base = monitor.words(symbols["vmemmap_base"], 1)[0]
    registers = monitor.ask("info registers")
    cr3, cr4 = (int(re.search(rf"{r}=([0-9a-f]+)", registers)[1], 16) for r in ("CR3", "CR4"))
    levels, bits = (5, 52) if cr4 & 1 << 12 else (4, 46)
    found: dict = {"leaves": [], "tables": {}}
    # Kernel addresses are the upper half of what the root maps: seen as one run, it ends at 2^64.
    whole = -(1 << (12 + 9 * levels)) % (1 << 64)
    walk(monitor, cr3 & 0xFFFFFFFFFF000, levels, whole, base, base + (64 << bits - 12) - 1, found)
    section_bytes = 32
    roots = (1 << bits - 27) * section_bytes // 4096
    pointers = []
    start = monitor.words(symbols["mem_section"], 1)[0]
    for at in range(0, min(roots, 8192), 512):
        pointers += monitor.words(start + 8 * at, 512)
    sections = []
    for root, pointer in enumerate(pointers):
        if not pointer:
            continue
        words = monitor.words(pointer, 512)
        per_root = 4096 // section_bytes
        sections += [[root * per_root + i, words[4 * i]] for i in range(per_root) if words[4 * i]]
    large = [at for at, level in found["leaves"] if level == 2]
    small = [at for at, level in found["leaves"] if level == 1]
    return {
        "version": re.search(r"/proc/version (.*)", log)[1].strip(),
        "memory": [
            [int(a, 16), int(b, 16) + 1, int(n)]
            for n, a, b in re.findall(r"node +(\d+): \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", log)
        ],
        "levels": levels,
        "vmemmap_base": base,
        "vmemmap_2m": runs(large, 2 << 20),
        "vmemmap_4k": runs(small, 4 << 10),
        "page_tables": {str(level): n for level, n in sorted(found["tables"].items())},
        "mem_section_bytes": section_bytes,
        "roots": [i for i, p in enumerate(pointers) if p],
        "sections": [[n, f"{coded:#x}"] for n, coded in sections],
        "memory_block_bytes": int(re.search(r"block_size_bytes ([0-9a-f]+)", log)[1], 16),
    }


def boot(kernel: str, init: pathlib.Path, folder: pathlib.Path, machine: tuple, plugged: tuple) -> dict:
    """Boot one machine, read it, and end it."""
    ram, arguments, more = machine
    log, monitor = folder / "log", folder / "monitor"
    log.write_bytes(b"")
    monitor.unlink(missing_ok=True)
    command = ["qemu-system-x86_64", "-M", "q35", "-m", ram, "-display", "none", "-no-reboot"]
    command += ["-kernel", kernel, "-initrd", init, "-serial", f"file:{log}"]
    command += ["-append", f"console=ttyS0 nokaslr {arguments}".strip()]
    command += ["-monitor", f"unix:{monitor},server=on,wait=off", *more]
    with subprocess.Popen([str(c) for c in command]) as process:
        try:
            for _ in range(300):
                time.sleep(1)
                text = log.read_text(errors="replace")
                if "RECORD end" in text or process.poll() is not None:
                    break
            asked = Monitor(monitor)
            for i, size in enumerate(plugged):
                asked.ask(f"object_add memory-backend-ram,id=plug{i},size={size}")
                asked.ask(f"device_add pc-dimm,id=dimm{i},memdev=plug{i}")
                time.sleep(10)
            found = record(asked, text)
            dimms = re.findall(
                r"addr: 0x([0-9a-f]+).*?size: (\d+)", asked.ask("info memory-devices"), re.DOTALL
            )
            found["added"] = [[int(at, 16), int(at, 16) + int(size)] for at, size in dimms]
            asked.quit()
            process.wait(30)
        finally:
            process.kill()
    shown = [str(c) for c in command[:7]] + ["-append", f"console=ttyS0 nokaslr {arguments}".strip(), *more]
    return {"command": " ".join(shown), **found}


def main() -> None:
    kernel, out, *chosen = sys.argv[1:]
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True)
    boots = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        init = initramfs(folder)
        for machine, how in MACHINES.items():
            if chosen and machine not in chosen:
                continue
            try:
                boots[machine] = boot(kernel, init, folder, how, PLUGGED.get(machine, ()))
                print(machine, boots[machine]["vmemmap_2m"], flush=True)
            except Exception as e:
                print(
                    machine,
                    "failed:",
                    repr(e),
                    (folder / "log").read_text(errors="replace")[-800:],
                    flush=True,
                )
    # One fact of one boot a line.
    facts = [
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in boot_facts.items())
        + "\n  }"
        for name, boot_facts in boots.items()
    ]
    head = f' "made_by": "tests/support/boot_linux.py",\n "qemu": {json.dumps(qemu.stdout.splitlines()[0])},'
    pathlib.Path(out).write_text("{\n" + head + '\n "boots": {\n' + ",\n".join(facts) + "\n }\n}\n")


if __name__ == "__main__":
    main()
