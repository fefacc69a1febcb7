// Frames, pages and addresses of a booted host: the page's restatement of xenmm's conversions and of
// xenmm/report/forms.py. Everything is a BigInt, modulo 2^64. A test holds this text to the same vectors and
// to the same answers as the Python API, word for word.
"use strict";

const xenmm = (() => {
  const U64 = 1n << 64n;
  const NO_BASE = U64 - 1n;
  const KINDS = ["mfn", "pdx", "page", "maddr", "virt"];
  const word = (x) => BigInt.asUintN(64, x);
  const hex = (x) => (x < 0n ? "-0x" + (-x).toString(16) : "0x" + x.toString(16));

  // Parameters come as the names of Xen's variables with hexadecimal strings, groups as runs [first, end).
  function parameters(given) {
    const p = { mode: given.pdx_compression, groups: given.groups };
    for (const [name, value] of Object.entries(given)) {
      if (Array.isArray(value)) {
        if (name !== "groups") p[name] = value.map(BigInt);
      } else if (name !== "pdx_compression") p[name] = value === null ? null : BigInt(value);
    }
    return p;
  }

  const slotOf = (x, shift) => Number((x >> shift) & 63n);
  const mfn_to_pdx = (p, mfn) => {
    if (p.mode === "offset") return word(mfn - (p.pfn_pdx_lookup[slotOf(mfn, p.pfn_index_shift)] ?? 0n));
    if (p.mode === "none") return mfn;
    return (mfn & p.pfn_pdx_bottom_mask) | ((mfn & p.pfn_top_mask) >> p.pfn_pdx_hole_shift);
  };
  const pdx_to_mfn = (p, pdx) => {
    if (p.mode === "offset") return word(pdx + (p.pdx_pfn_lookup[slotOf(pdx, p.pdx_index_shift)] ?? 0n));
    if (p.mode === "none") return pdx;
    return (pdx & p.pfn_pdx_bottom_mask) | ((pdx << p.pfn_pdx_hole_shift) & p.pfn_top_mask);
  };
  // On byte addresses: the masks stand 12 bits higher, the lookups are in frames; the low 12 bits stay.
  const maddr_to_off = (p, maddr) => {
    if (p.mode !== "mask") return word((mfn_to_pdx(p, maddr >> 12n) << 12n) + (maddr & 0xfffn));
    return (maddr & p.ma_va_bottom_mask) | ((maddr & p.ma_top_mask) >> p.pfn_pdx_hole_shift);
  };
  const off_to_maddr = (p, off) => {
    if (p.mode !== "mask") return word((pdx_to_mfn(p, off >> 12n) << 12n) + (off & 0xfffn));
    return (off & p.ma_va_bottom_mask) | ((off << p.pfn_pdx_hole_shift) & p.ma_top_mask);
  };
  const pdx_to_page = (p, pdx) => word((pdx << 5n) + p.frametable_virt_start);
  const page_to_pdx = (p, page) => word(page - p.frametable_virt_start) >> 5n;
  const in_image = (p, virt) =>
    p.xen_phys_start !== null && word(virt - p.xen_virt_start) < p.xen_virt_end - p.xen_virt_start;
  const maddr_to_virt = (p, maddr) => word(maddr_to_off(p, maddr) + p.directmap_virt_start);
  const virt_to_maddr = (p, virt) =>
    in_image(p, virt)
      ? word(virt - p.xen_virt_start + p.xen_phys_start)
      : off_to_maddr(p, word(virt - p.directmap_virt_start));
  const mfn_to_page = (p, mfn) => pdx_to_page(p, mfn_to_pdx(p, mfn));
  const page_to_mfn = (p, page) => pdx_to_mfn(p, page_to_pdx(p, page));
  const mfn_to_virt = (p, mfn) => maddr_to_virt(p, word(mfn << 12n));
  const virt_to_mfn = (p, virt) => virt_to_maddr(p, virt) >> 12n;
  const virt_to_page = (p, virt) =>
    in_image(p, virt)
      ? mfn_to_page(p, virt_to_mfn(p, virt))
      : pdx_to_page(p, word(virt - p.directmap_virt_start) >> 12n);
  const page_to_virt = (p, page) => word((page - p.frametable_virt_start) * 128n + p.directmap_virt_start);
  const page_to_mfn_to_virt = (p, page) => mfn_to_virt(p, page_to_mfn(p, page));

  const compressible = (p, mfn) => {
    if (p.mode === "none") return true;
    if (p.mode === "mask") return (mfn & p.pfn_hole_mask) === 0n;
    const base = p.pfn_bases[slotOf(mfn, p.pfn_index_shift)] ?? NO_BASE;
    return mfn >= base && mfn - base < p.pdx_region_size;
  };
  const group_valid = (p, pdx) => {
    const group = pdx >> 16n, runs = p.groups;
    let low = 0, high = runs.length / 2;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (group < runs[2 * middle]) high = middle;
      else if (group >= runs[2 * middle + 1]) low = middle + 1;
      else return true;
    }
    return false;
  };
  const mfn_valid = (p, mfn) => mfn < p.max_page && compressible(p, mfn) && group_valid(p, mfn_to_pdx(p, mfn));

  // Reading what a person types, as Python reads it.

  function quoted(text) {
    const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
    const escape = (c) => {
      if (c === quote || c === "\\") return "\\" + c;
      if (c === "\n" || c === "\r" || c === "\t") return { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[c];
      if (c === " " || !/[\p{C}\p{Z}]/u.test(c)) return c;
      const code = c.codePointAt(0), digits = code.toString(16);
      if (code < 0x100) return "\\x" + digits.padStart(2, "0");
      return code < 0x10000 ? "\\u" + digits.padStart(4, "0") : "\\U" + digits.padStart(8, "0");
    };
    return quote + Array.from(text, escape).join("") + quote;
  }

  const DIGIT = /\p{Nd}/u;
  function digitOf(c) {
    // Decimal digits of every script stand in tens, zero first.
    const code = c.codePointAt(0);
    let zero = code;
    while (DIGIT.test(String.fromCodePoint(zero - 1))) zero--;
    return String((code - zero) % 10);
  }

  const NUMBER = /^([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|0(?:_?0)*|[1-9](?:_?[0-9])*)$/;
  const PYTHON_DECIMAL_DIGITS_MAX = 4300;
  function number(text) {
    let plain = text;
    if (/[^\x00-\x7f]/.test(text))
      plain = Array.from(text, (c) => (DIGIT.test(c) ? digitOf(c) : /[\x1c-\x1f\x85\p{Z}]/u.test(c) ? " " : c)).join("");
    const found = NUMBER.exec(plain.replace(/^[\t-\r ]+|[\t-\r ]+$/g, ""));
    if (!found) return null;
    const digits = found[2].replaceAll("_", "");
    if (/^\d+$/.test(digits) && digits.length > PYTHON_DECIMAL_DIGITS_MAX) return null;
    const value = BigInt(digits.toLowerCase());
    return found[1] === "-" ? -value : value;
  }

  // Python's difflib: twice the characters that match, block after longest block, of all characters.
  function matching(a, b) {
    let best = [0, 0, 0];
    for (let i = 0; i < a.length; i++)
      for (let j = 0; j < b.length; j++) {
        let n = 0;
        while (i + n < a.length && j + n < b.length && a[i + n] === b[j + n]) n++;
        if (n > best[2]) best = [i, j, n];
      }
    const [i, j, n] = best;
    return n && n + matching(a.slice(0, i), b.slice(0, j)) + matching(a.slice(i + n), b.slice(j + n));
  }
  function nearest(word) {
    const letters = Array.from(word);
    // Longer words are too far from every kind.
    if (letters.length > 12) return undefined;
    const ratio = (kind) => (2 * matching(Array.from(kind), letters)) / (kind.length + letters.length);
    const near = KINDS.map((kind) => [ratio(kind), kind]).filter(([score]) => score >= 0.6);
    return near.sort(([p, a], [q, b]) => q - p || (a < b ? 1 : -1))[0]?.[1];
  }
  function unitHint(digits) {
    const found = /^(\d{1,12})([KMGTP])i?B?$/i.exec(digits);
    if (!found) return "";
    const bytes = BigInt(found[1]) << BigInt(10 * ("KMGTP".indexOf(found[2].toUpperCase()) + 1));
    return ` (units are not read: ${digits} of bytes are maddr:${hex(bytes)})`;
  }

  function parseValue(text) {
    const at = text.indexOf(":");
    const kind = at < 0 ? text : text.slice(0, at);
    if (at < 0 || !KINDS.includes(kind)) {
      const near = nearest(kind) ?? nearest(kind.toLowerCase());
      const meant = near ? `; did you mean '${near}'?` : "";
      const kinds = KINDS.join(", ");
      throw new Error(`${quoted(text)}: need a kind and a number, as mfn:0x100000; kinds are ${kinds}${meant}`);
    }
    const digits = text.slice(at + 1);
    const short = (s, n) => quoted(Array.from(s).slice(0, n).join(""));
    const value = number(digits);
    if (value === null)
      throw new Error(`${short(text, 80)}: ${short(digits, 40)} is no number; write 4096, 4_096 or 0x1000${unitHint(digits)}`);
    if (value < 0n || value >= U64) throw new Error(`${short(text, 80)}: outside [0, 2^64)`);
    return [kind, value];
  }

  // Every form of one frame, and how each was computed.

  const signed = (entry) => (entry < U64 >> 1n ? hex(entry) : `(${hex(entry - U64)})`);
  function mfnToPdxText(p, mfn) {
    if (p.mode === "mask") {
      const [bottom, top, shift] = [p.pfn_pdx_bottom_mask, p.pfn_top_mask, p.pfn_pdx_hole_shift];
      const formula = `(mfn & ${hex(bottom)}) | ((mfn & ${hex(top)}) >> ${shift})`;
      return `${formula} = ${hex(mfn & bottom)} | ${hex((mfn & top) >> shift)}`;
    }
    if (p.mode === "offset") {
      const slot = slotOf(mfn, p.pfn_index_shift);
      const lookup = `pfn_pdx_lookup[(mfn >> ${p.pfn_index_shift}) & 63 = ${slot}]`;
      return `mfn - ${lookup} = ${hex(mfn)} - ${signed(p.pfn_pdx_lookup[slot])}`;
    }
    return "mfn: no compression";
  }
  function pdxToMfnText(p, pdx) {
    if (p.mode === "mask") {
      const [bottom, top, shift] = [p.pfn_pdx_bottom_mask, p.pfn_top_mask, p.pfn_pdx_hole_shift];
      const formula = `(pdx & ${hex(bottom)}) | ((pdx << ${shift}) & ${hex(top)})`;
      return `${formula} = ${hex(pdx & bottom)} | ${hex((pdx << shift) & top)}`;
    }
    if (p.mode === "offset") {
      const slot = slotOf(pdx, p.pdx_index_shift);
      const lookup = `pdx_pfn_lookup[(pdx >> ${p.pdx_index_shift}) & 63 = ${slot}]`;
      return `pdx + ${lookup} = ${hex(pdx)} + ${signed(p.pdx_pfn_lookup[slot])}`;
    }
    return "pdx: no compression";
  }

  const range = (start, end) => `[${hex(start)}, ${hex(end)})`;
  const form = (name, value, how) => ({ name, value, how });
  function fromPdx(p, pdx, how) {
    const mfn = pdx_to_mfn(p, pdx);
    return [mfn, 0n, [form("pdx", pdx, how), form("mfn", mfn, pdxToMfnText(p, pdx))]];
  }
  const START = {
    mfn: (p, mfn) => [mfn, 0n, [form("mfn", mfn, "given")]],
    maddr(p, maddr) {
      const path = [form("maddr", maddr, "given"), form("mfn", maddr >> 12n, "maddr >> 12")];
      return [maddr >> 12n, maddr & 0xfffn, path];
    },
    pdx: (p, pdx) => fromPdx(p, pdx, "given"),
    page(p, page) {
      const [start, end] = [p.frametable_virt_start, p.frametable_virt_end];
      if (page < start || page >= end)
        throw new Error(`page ${hex(page)} is outside the frame table ${range(start, end)}`);
      if ((page - start) & 31n) throw new Error(`page ${hex(page)} is no multiple of 32 bytes into the frame table`);
      const [mfn, offset, path] = fromPdx(p, (page - start) >> 5n, `(page - frame table ${hex(start)}) / 32`);
      return [mfn, offset, [form("page", page, "given"), ...path]];
    },
    virt(p, virt) {
      const [start, end] = [p.directmap_virt_start, p.directmap_virt_end];
      const offset = virt & 0xfffn;
      if (virt >= start && virt < end) {
        const [mfn, , path] = fromPdx(p, (virt - start) >> 12n, `(virt - direct map ${hex(start)}) >> 12`);
        return [mfn, offset, [form("virt", virt, "given"), ...path]];
      }
      if (p.xen_phys_start !== null && virt >= p.xen_virt_start && virt < p.xen_virt_end) {
        const maddr = virt - p.xen_virt_start + p.xen_phys_start;
        const how = `virt - Xen image ${hex(p.xen_virt_start)} + its physical start ${hex(p.xen_phys_start)}`;
        return [maddr >> 12n, offset, [form("virt", virt, "given"), form("maddr", maddr, how)]];
      }
      throw new Error(`virt ${hex(virt)} is outside the direct map ${range(start, end)}`);
    },
  };

  // mfn_valid's own tests, in Xen's order; the first that fails decides.
  function validity(p, mfn, pdx) {
    if (mfn >= p.max_page) return [`mfn ${hex(mfn)} >= max_page ${hex(p.max_page)}`];
    const why = [`mfn < max_page ${hex(p.max_page)}`];
    if (p.mode === "mask") {
      const hole = p.pfn_hole_mask;
      if (mfn & hole) return [`mfn ${hex(mfn)} has bits ${hex(mfn & hole)} inside the hole ${hex(hole)}`];
      why.push(`no bit in the hole ${hex(hole)}`);
    } else if (p.mode === "offset") {
      const slot = slotOf(mfn, p.pfn_index_shift);
      const first = p.pfn_bases[slot], end = first + p.pdx_region_size;
      if (first === NO_BASE) return [`mfn ${hex(mfn)} is in no region: slot ${slot} is unused`];
      if (mfn < first || mfn >= end) return [`mfn ${hex(mfn)} is outside its slot's region ${range(first, end)}`];
      why.push(`inside the region ${range(first, end)}`);
    }
    const group = hex(pdx >> 16n);
    if (!group_valid(p, pdx))
      return [`no frame table behind group ${group} of pdx ${hex(pdx)}: no memory there`];
    return [...why, `group ${group} is backed`];
  }

  function formsOf(p, kind, given) {
    const [mfn, offset, path] = START[kind](p, given);
    if (mfn >= U64 >> 12n)
      throw new Error(`mfn ${hex(mfn)} has no 64-bit machine address; need mfn < ${hex(U64 >> 12n)}`);
    const pdx = mfn_to_pdx(p, mfn);
    const maddr = (mfn << 12n) + offset;
    const at = offset ? hex(offset) : "";
    const known = {
      mfn: form("mfn", mfn, "maddr >> 12"),
      pdx: form("pdx", pdx, mfnToPdxText(p, mfn)),
      page: form("page", mfn_to_page(p, mfn), `frame table ${hex(p.frametable_virt_start)} + pdx * 32`),
      maddr: form("maddr", maddr, "mfn << 12" + (at && `, + ${at} in the page`)),
      virt: form(
        "virt", maddr_to_virt(p, maddr),
        `direct map ${hex(p.directmap_virt_start)} + (pdx << 12)` + (at && ` + ${at}`)
      ),
    };
    const own = known[kind].value === given || (kind === "virt" && path.at(-1).name === "maddr");
    let why = validity(p, mfn, pdx);
    if (!own) why = [`mfn ${hex(mfn)} converts back to ${kind} ${hex(known[kind].value)}, not ${hex(given)}`];
    for (const f of path) known[f.name] = f;
    const order = path.map((f) => f.name);
    const forms = {};
    for (const name of [...order, ...KINDS.filter((k) => !order.includes(k))])
      forms[name] = { value: hex(known[name].value), how: known[name].how };
    return { given: { kind, value: hex(given) }, forms, valid: own && mfn_valid(p, mfn), why };
  }

  return {
    parameters, parseValue, formsOf, hex, range,
    mfn_to_pdx, pdx_to_mfn, mfn_to_page, page_to_mfn, mfn_to_virt, virt_to_mfn, maddr_to_virt, virt_to_maddr,
    page_to_virt, virt_to_page, page_to_mfn_to_virt, mfn_valid,
  };
})();
