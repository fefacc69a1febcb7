"""Dumps of memory in ELF, written from the format's own tables and not with what reads them."""

import struct

PT_LOAD, PT_NOTE = 1, 4
ET_EXEC, ET_CORE = 2, 4
EM_X86_64, EM_AARCH64, EM_S390 = 62, 183, 22
NO_ADDRESS = (1 << 64) - 1
PN_XNUM = 0xFFFF


def core(
    loads,
    notes=b"",
    *,
    bits=64,
    order="<",
    type=ET_CORE,
    machine=EM_X86_64,
    many=False,
    cut_note=0,
    **changed,
):
    """A dump's headers: ``loads`` are (paddr, memsz[, vaddr[, filesz]]); ``changed`` are fields of the first.

    With ``many`` the number of segments stands in a section header, as it must from 65,535 on. Before the
    rest stands a segment of ``cut_note`` bytes of notes that the file does not have.
    """
    segments = [(PT_NOTE, 0, 0, size, size) for size in (cut_note, len(notes)) if size]
    for start, size, *more in loads:
        vaddr, filesz = (*more, start, size)[:2] if len(more) != 1 else (more[0], size)
        segments.append((PT_LOAD, vaddr, start, filesz, size))
    ehdr = struct.Struct(order + "16sHHI" + ("QQQ" if bits == 64 else "III") + "IHHHHHH")
    phdr = struct.Struct(order + ("IIQQQQQQ" if bits == 64 else "8I"))
    shdr = struct.Struct(order + ("IIQQQQIIQQ" if bits == 64 else "10I"))
    sections = shdr.pack(0, 0, 0, 0, 0, 0, 0, len(segments), 0, 0) if many else b""
    at = ehdr.size + len(sections) + phdr.size * len(segments)
    table = b""
    for kind, vaddr, paddr, filesz, memsz in segments:
        offset = at if kind == PT_NOTE else at + len(notes)
        fields = (offset, vaddr, paddr, filesz, memsz)
        # The flags stand second in the long form, and seventh in the short one.
        table += phdr.pack(kind, 7, *fields, 0) if bits == 64 else phdr.pack(kind, *fields, 7, 0)
    fields = {
        "ident": b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1)) + bytes(9),
        "type": type, "machine": machine, "version": 1, "entry": 0,
        "phoff": ehdr.size + len(sections), "shoff": ehdr.size if many else 0,
        "flags": 0, "ehsize": ehdr.size, "phentsize": phdr.size,
        "phnum": PN_XNUM if many else len(segments),
        "shentsize": shdr.size, "shnum": int(many), "shstrndx": 0,
    }  # fmt: skip
    assert not set(changed) - set(fields)
    return ehdr.pack(*(fields | changed).values()) + sections + table + notes


def note(name, kind, content, order="<"):
    """One note; its name ends in a zero byte, and both parts are filled up to four."""
    label = name.encode() + b"\0"
    return (
        struct.pack(order + "III", len(label), len(content), kind)
        + label.ljust(-(-len(label) // 4) * 4, b"\0")
        + content.ljust(-(-len(content) // 4) * 4, b"\0")
    )


def kexec_notes(release="6.1.0-31-amd64", xen=None):
    """What a crash dump by kexec says beside the memory, under Xen with its (major, minor)."""
    crash = b""
    if xen:
        info = struct.pack("<10Q", *xen, *range(8))
        crash = note("Xen", 0x1000002, bytes(32)) + note("Xen", 0x1000001, info)
    text = f"OSRELEASE={release}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff82a0fd00\n"
    return note("CORE", 1, bytes(336)) + crash + note("VMCOREINFO", 0, text.encode())
