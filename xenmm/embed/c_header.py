"""The frozen C header: one booted machine's conversions as constants, for C99 and C++11.

The arithmetic is the text of ``include/xenmm.h`` itself under the machine's own prefix. What is added is a
``static const`` struct of this machine's values and functions that take no struct; compilers fold the
values into the code from -O2 on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from .._core import HostCore
from .._embed import struct_values
from ..errors import ConfigError, need
from .provenance import provenance

_GENERIC: Final = Path(__file__).parent.parent / "include" / "xenmm.h"
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_MODES: Final = ("none", "mask", "offset")

#: Conversions of the frozen header: name, argument, result, and whether the text has one for each mode.
CONVERSIONS: Final = (
    ("mfn_to_pdx", "mfn", True),
    ("pdx_to_mfn", "pdx", True),
    ("mfn_to_page", "mfn", True),
    ("page_to_mfn", "page", True),
    ("mfn_to_virt", "mfn", True),
    ("virt_to_mfn", "virt", True),
    ("maddr_to_virt", "maddr", True),
    ("virt_to_maddr", "virt", True),
    ("page_to_virt", "page", False),
    ("virt_to_page", "virt", True),
)

_HEAD: Final = """\
/*
 * Frames, pages and addresses of one booted machine, with its constants. Generated: do not edit.
 *
{facts}
 *
 * mfn: machine frame number. pdx: index into the frame table. page: address of a 32-byte record there.
 * maddr: machine address. virt: hypervisor virtual address in the direct map. All are uint64_t.
 *
 *   {p}_mfn_to_page(mfn), {p}_page_to_mfn(page), {p}_mfn_to_virt(mfn), {p}_virt_to_mfn(virt),
 *   {p}_mfn_to_pdx(mfn), {p}_pdx_to_mfn(pdx), {p}_maddr_to_virt(maddr), {p}_virt_to_maddr(virt),
 *   {p}_virt_to_page(virt)        the bare formula modulo 2^64: they judge nothing
 *   {p}_page_to_virt(page)        the map_domain_page(page) shortcut: no mfn in between
 *   {p}_page_to_mfn_to_virt(page) the same the long way round
 *   {p}_mfn_valid(mfn)            1 when the frame is memory of this machine; takes any value
 *   {p}_..._checked(x, &out)      {P}_OK, or which limit x breaks, out then untouched
 *   {p}_strerror(error)           that limit in words
 *
 * Every name starts with {p}_ or {P}_, so that headers of several machines can be included together. The
 * part up to "This machine" is the text of xenmm.h under this prefix. C99 or C++11, nothing to link;
 * compile with -O2 or more, so that the constants are folded into the code.
 */
#ifndef {P}_MM_H
#define {P}_MM_H

#include <stddef.h>
#include <stdint.h>

"""

_FROZEN: Final = """\
/* ---- This machine ---- */

{constants}

static const uint64_t {i}_groups[{words}] = {{
{groups}
}};

static const {i}_params {i}_machine = {{
{fields}
}};

/* A relation that the compiler checks: the array's size is negative when it does not hold. */
#define {I}_STATIC_ASSERT(name, condition) typedef char {i}_assert_##name[(condition) ? 1 : -1]

{I}_STATIC_ASSERT(words_are_64_bits, sizeof(uint64_t) == 8);
{I}_STATIC_ASSERT(record_and_page, ({P}_PAGE_INFO_BYTES << 7) == {P}_PAGE_SIZE);
{I}_STATIC_ASSERT(frame_table_holds_max_pdx,
    {P}_MAX_PDX <= ({P}_FRAMETABLE_VIRT_END - {P}_FRAMETABLE_VIRT_START) / {P}_PAGE_INFO_BYTES);
{I}_STATIC_ASSERT(direct_map_is_not_empty, {P}_DIRECTMAP_VIRT_START < {P}_DIRECTMAP_VIRT_END);
{I}_STATIC_ASSERT(groups_fit, {P}_PDX_GROUP_COUNT <= {words} * 64);
{asserts}
typedef {i}_err {p}_err;
{errors}

static inline const char *{p}_strerror({p}_err error)
{{
    return {i}_strerror(error);
}}

{functions}
static inline uint64_t {p}_page_to_mfn_to_virt(uint64_t page)
{{
    return {p}_mfn_to_virt({p}_page_to_mfn(page));
}}

static inline int {p}_mfn_valid(uint64_t mfn)
{{
    return {i}_{mode}_mfn_valid(&{i}_machine, mfn);
}}

#endif /* {P}_MM_H */
"""

_MASK_ASSERTS: Final = """\
{I}_STATIC_ASSERT(masks_are_disjoint, (({bottom} & {hole}) | ({hole} & {top}) | ({bottom} & {top})) == 0);
{I}_STATIC_ASSERT(masks_are_complete, ({bottom} | {hole} | {top}) == UINT64_MAX);
"""


def c_header(host: HostCore, *, prefix: str = "machine") -> str:
    """Return the frozen header of a host as text.

    Raises
    ------
    ConfigError
        If the prefix is no C identifier, or starts as the generic header's names do.
    """
    need("prefix", prefix, str)
    if not _IDENTIFIER.match(prefix) or prefix.lower().startswith("xenmm"):
        raise ConfigError(f"prefix {prefix!r} is no C identifier of one's own (letters, digits, underscores)")
    struct = struct_values(host.capsule)
    names = {"p": prefix, "P": prefix.upper(), "i": f"{prefix}_impl", "I": f"{prefix.upper()}_IMPL"}
    mode = _MODES[struct["mode"]]
    facts = "\n".join(f" *   {k + ':':<19}{_comment(v)}" for k, v in provenance(host).items())
    groups = struct["pdx_group_valid"] or (0,)
    frozen = _FROZEN.format(
        **names,
        mode=mode,
        words=len(groups),
        groups=_rows(groups),
        constants=_constants(struct, names) + _own_constants(host, names),
        fields=_fields(struct, names),
        asserts=_mask_asserts(struct, names) if mode == "mask" else "",
        errors=_errors(names),
        functions="\n".join(_functions(names, mode)),
    )
    return _HEAD.format(**names, facts=facts) + _generic(names) + frozen


def _generic(names: dict[str, str]) -> str:
    # The generic text between its #includes and its last line, with every name moved under the prefix. A
    # frozen struct comes from no capsule.
    text = re.sub(r"/\*.*\*/\n#define XENMM_CAPSULE_NAME .*\n", "", _GENERIC.read_text())
    body = text.partition("#include <stdint.h>\n")[2].rpartition("#endif")[0].strip("\n") + "\n\n"
    return body.replace("xenmm_", f"{names['i']}_").replace("XENMM_", f"{names['I']}_")


def _comment(value: str) -> str:
    # A machine's name is anybody's text: it must not end the comment, or the line.
    return re.sub(r"[^ -~]|\*/|/\*|\\|\?\?", "_", value)


def _hex(value: int) -> str:
    return f"UINT64_C({value:#x})"


def _without_last_zeros(values: tuple[int, ...]) -> tuple[int, ...]:
    used = max((i for i, v in enumerate(values) if v), default=0)
    return values[: used + 1]


def _rows(values: tuple[int, ...]) -> str:
    rows = (", ".join(_hex(v) for v in values[i : i + 4]) for i in range(0, len(values), 4))
    return ",\n".join(f"    {row}" for row in rows)


def _own_constants(host: HostCore, names: dict[str, str]) -> str:
    # The embedder's own write-once parameters, under a prefix that nothing else has.
    return "".join(
        f"\n/* {_comment(p.unit)}: {_comment(p.rule)} */\n"
        f"#define {names['P']}_OWN_{p.name.upper()} {_hex(host.params[p.name])}"
        for p in host.params.own
    )


def _constants(struct: dict[str, Any], names: dict[str, str]) -> str:
    shown = {"PAGE_SIZE": 4096, "PAGE_INFO_BYTES": 32}
    shown |= {
        name.upper(): struct[name]
        for name in (
            "max_page",
            "max_pdx",
            "pdx_group_count",
            "directmap_virt_start",
            "directmap_virt_end",
            "frametable_virt_start",
            "frametable_virt_end",
        )
    }
    return "\n".join(f"#define {names['P']}_{name} {_hex(value)}" for name, value in shown.items())


def _fields(struct: dict[str, Any], names: dict[str, str]) -> str:
    # By position: C++11 has no designated initialisers. What is left out at an array's end is zero.
    lines = []
    for name, value in struct.items():
        if name == "size":
            text = f"(uint32_t)sizeof({names['i']}_params)"
        elif name == "pdx_group_valid":
            text = f"{names['i']}_groups"
        elif isinstance(value, tuple):
            text = f"{{\n{_rows(_without_last_zeros(value))}\n    }}"
        else:
            text = f"{value}u" if value < 1 << 32 and not name.endswith("mask") else _hex(value)
        lines.append(f"    /* {name} */ {text}")
    return ",\n".join(lines)


def _mask_asserts(struct: dict[str, Any], names: dict[str, str]) -> str:
    masks = {
        short: _hex(struct[name])
        for short, name in (
            ("bottom", "pfn_pdx_bottom_mask"),
            ("hole", "pfn_hole_mask"),
            ("top", "pfn_top_mask"),
        )
    }
    return _MASK_ASSERTS.format(**names, **masks)


def _errors(names: dict[str, str]) -> str:
    codes = re.findall(r"^    XENMM_((?:OK|ERR_\w+))\b", _GENERIC.read_text(), re.MULTILINE)
    return "\n".join(f"#define {names['P']}_{code} {names['I']}_{code}" for code in codes)


def _functions(names: dict[str, str], mode: str) -> list[str]:
    texts = []
    p, i = names["p"], names["i"]
    for name, argument, by_mode in CONVERSIONS:
        inner = f"{i}_{mode}_{name}" if by_mode else f"{i}_{name}"
        texts.append(
            f"static inline uint64_t {p}_{name}(uint64_t {argument})\n"
            f"{{\n    return {inner}(&{i}_machine, {argument});\n}}\n"
        )
        texts.append(
            f"static inline {p}_err {p}_{name}_checked(uint64_t {argument}, uint64_t *out)\n"
            f"{{\n    return {i}_{name}_checked(&{i}_machine, {argument}, out);\n}}\n"
        )
    return texts
