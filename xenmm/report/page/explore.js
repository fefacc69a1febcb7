// The machine's address space to scale, with zoom, between two pdx spaces; and what is known of a range.
"use strict";

function explorer(facts, hosts, onFrame) {
  const $ = (id) => document.getElementById(id);
  const svg = $("explorer"), box = $("explorer-box"), nav = $("navigator"), panel = $("range-panel");
  const SVG = "http://www.w3.org/2000/svg";
  const FRAME = 4096, VIEW_FRAMES_MIN = 8, TINY = 2;
  const Y = { axis0: 26, track0: 32, trackHeight: 18, machine: 108, machineHeight: 30, other: 139, axis: 158,
              track1: 206, axis1: 236, titles: [12, 250], height: 256 };

  // Ranges as numbers of frames (drawing) and as BigInt bytes (words); ranges and holes take turns in `items`.
  const rows = (text) => (text ? text.split(";").map((row) => row.split(" ")) : []);
  const frames = (big) => Number(big) / FRAME;
  const ram = rows(facts.ram).map(([s, e, node]) => {
    const start = BigInt("0x" + s), end = BigInt("0x" + e);
    return { ram: true, start, end, node: node === "-1" ? -1 : parseInt(node, 16), a: frames(start), b: frames(end) };
  });
  const items = [];
  for (const [i, range] of ram.entries()) {
    const before = i ? ram[i - 1].end : 0n;
    if (range.start > before)
      items.push({ ram: false, start: before, end: range.start, a: frames(before), b: range.a });
    range.number = i + 1;
    items.push(range);
  }
  for (const [i, item] of items.entries()) item.index = i;
  const top = frames(BigInt(facts.top));
  const others = facts.other.map(([s, e, label]) => ({ start: BigInt(s), end: BigInt(e), label }));
  const srat = facts.srat.map(([s, e, node, hotplug]) => ({ start: BigInt(s), end: BigInt(e), node, hotplug }));
  // Beyond the highest RAM one may look as far as anything is said of, a 52-bit machine's end at most.
  const limit = [...srat, ...others].reduce((most, x) => Math.max(most, Math.min(frames(x.end), 2 ** 40)), top);
  const landings = facts.profiles.map((profile) => {
    const all = rows(facts.pool[profile.landings]).map(([m, p, n, node]) => ({
      mfn: parseInt(m, 16), pdx: parseInt(p, 16), frames: parseInt(n, 16), node: node === "-1" ? -1 : parseInt(node, 16),
    }));
    return { byMfn: all, byPdx: [...all].sort((a, b) => a.pdx - b.pdx) };
  });

  let view = { a: 0, b: top };
  let selected = null, hovered = null, chosen = 0;

  // Small helpers.
  const make = (name, attributes, ...children) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const paint = (node, attributes) => {
    const [name, value] = facts.nodes[node] ?? ["class", "nx", ""];
    return { ...attributes, [name]: value };
  };
  const size = (bytes) => {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = 0, scale = 1n;
    while (unit < 6 && bytes >= scale * 1024n) { unit++; scale *= 1024n; }
    if (bytes % scale === 0n) return bytes === 1n ? "1 byte" : `${(bytes / scale).toLocaleString("en")} ${units[unit]}`;
    let value = Number(bytes) / Number(scale);
    if (value >= 1023.5 && unit < 6) { unit++; value /= 1024; }
    const digits = Math.max(4 - String(Math.trunc(value)).length, 0);
    return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${units[unit]}`;
  };
  const width = () => Math.max(svg.clientWidth || box.clientWidth, 200);
  const first = (list, test) => {
    let low = 0, high = list.length;
    while (low < high) { const middle = (low + high) >> 1; if (test(list[middle])) high = middle; else low = middle + 1; }
    return low;
  };

  // One band of boxes in a window of frames: one path for each node, and a mark on what is thinner than drawn.
  function band(list, from, to, window, y, height) {
    const w = width(), scale = w / (window.b - window.a);
    const paths = new Map(), marks = [];
    let lastTiny = -9, thin = 0;
    for (const each of list) {
      const a = Math.max((from(each) - window.a) * scale, 0), b = Math.min((to(each) - window.a) * scale, w);
      let left = a, wide = b - a;
      if ((to(each) - from(each)) * scale < TINY) {
        thin++;
        if (a - lastTiny < TINY) continue;
        lastTiny = a;
        left = Math.min(a, w - TINY);
        wide = TINY;
        marks.push(`M${left.toFixed(1)} ${y - 5}h2l-1 4z`);
      }
      const path = paths.get(each.node) ?? [];
      path.push(`M${left.toFixed(1)} ${y}h${wide.toFixed(1)}v${height}h${(-wide).toFixed(1)}z`);
      paths.set(each.node, path);
    }
    const group = make("g", {});
    for (const [node, d] of paths) group.append(make("path", paint(node, { d: d.join("") })));
    if (marks.length) group.append(make("path", { d: marks.join(""), class: "thin" }));
    return [group, thin];
  }

  function ribbons(list, window, near, far) {
    const w = width(), scale = w / (view.b - view.a), there = w / (window.b - window.a);
    const paths = new Map(), middle = (near + far) / 2;
    let last = "";
    for (const each of list) {
      const cut = Math.max(view.a - each.mfn, 0), stop = Math.min(view.b - each.mfn, each.frames);
      const a0 = (each.mfn + cut - view.a) * scale, b0 = (each.pdx + cut - window.a) * there;
      const a1 = Math.max((each.mfn + stop - view.a) * scale, a0 + 1), b1 = Math.max((each.pdx + stop - window.a) * there, b0 + 1);
      const [p, q, r, s] = [a0, a1, b0, b1].map((x) => x.toFixed(1));
      const d = `M${p} ${near}C${p} ${middle} ${r} ${middle} ${r} ${far}H${s}C${s} ${middle} ${q} ${middle} ${q} ${near}z`;
      if (d === last) continue;
      last = d;
      const path = paths.get(each.node) ?? [];
      path.push(d);
      paths.set(each.node, path);
    }
    const group = make("g", { class: "ribbons" });
    for (const [node, d] of paths) group.append(make("path", paint(node, { d: d.join("") })));
    return group;
  }

  function axis(window, y, unit) {
    const w = width(), span = window.b - window.a;
    let step = 1;
    while ((step / span) * w < 118) step *= 2;
    const group = make("g", {});
    for (let at = Math.ceil(window.a / step) * step; at <= window.b; at += step) {
      const x = ((at - window.a) / span) * w;
      const anchor = x < 40 ? "start" : x > w - 50 ? "end" : "middle";
      group.append(
        make("path", { d: `M${x.toFixed(1)} ${y - 12}v4`, class: "tick" }),
        make("text", { x: x.toFixed(1), y, "text-anchor": anchor, class: "mono soft halo" },
          "0x" + (BigInt(at) * unit).toString(16)));
    }
    return group;
  }

  const scaleText = (window) => `1 pixel = ${size(BigInt(Math.max(Math.round(((window.b - window.a) / width()) * FRAME), 1)))}`;

  function pdxWindow(host, visible) {
    const end = Number(hosts[host].max_pdx);
    if (view.a <= 0 && view.b >= top) return { a: 0, b: Math.max(end, 1) };
    if (!visible.length) return null;
    let a = Infinity, b = 0;
    for (const each of visible) {
      a = Math.min(a, each.pdx + Math.max(view.a - each.mfn, 0));
      b = Math.max(b, each.pdx + Math.min(view.b - each.mfn, each.frames));
    }
    const pad = (b - a) * 0.02;
    return { a: Math.max(a - pad, 0), b: b + pad };
  }

  const inView = (list, a, b, from, to) => list.slice(first(list, (x) => to(x) > a), first(list, (x) => from(x) >= b));

  let windows = [];
  const overlay = make("g", {});
  function drawOutlines() {
    const shown = [[hovered, "hover"], [selected, "selected"]].filter(([item]) => item);
    overlay.replaceChildren(...shown.flatMap(([item, name]) => outline(item, name)));
  }
  function draw() {
    const w = width(), parts = [];
    svg.setAttribute("viewBox", `0 0 ${w} ${Y.height}`);
    windows = facts.tracks.map((host, i) => {
      const { byMfn, byPdx } = landings[host];
      const visible = inView(byMfn, view.a, view.b, (x) => x.mfn, (x) => x.mfn + x.frames);
      const window = pdxWindow(host, visible);
      const y = i ? Y.track1 : Y.track0, name = facts.profiles[host].name;
      const title = make("text", { x: 0, y: Y.titles[i], class: "title" }, `pdx, ${name}: ${facts.profiles[host].squeezed}`);
      if (window === null) {
        title.append(" (no memory of it in view)");
        parts.push(title);
        return null;
      }
      title.append(make("tspan", { class: "faint", dx: 10 }, scaleText(window)));
      const there = inView(byPdx, window.a, window.b, (x) => x.pdx, (x) => x.pdx + x.frames);
      parts.push(i ? ribbons(visible, window, Y.machine + Y.machineHeight, Y.track1)
                   : ribbons(visible, window, Y.machine, Y.track0 + Y.trackHeight));
      parts.push(make("rect", { x: 0, y, width: w, height: Y.trackHeight, class: "ground" }));
      parts.push(band(there, (x) => x.pdx, (x) => x.pdx + x.frames, window, y, Y.trackHeight)[0]);
      parts.push(axis(window, i ? Y.axis1 : Y.axis0, 1n), title);
      return window;
    });
    const visible = inView(ram, view.a, view.b, (x) => x.a, (x) => x.b);
    const [machine, thin] = band(visible, (x) => x.a, (x) => x.b, view, Y.machine, Y.machineHeight);
    parts.push(make("rect", { x: 0, y: Y.machine, width: w, height: Y.machineHeight, class: "ground" }), machine);
    if (w / (view.b - view.a) >= 8) parts.push(frameEdges(w));
    parts.push(strips(w), axis(view, Y.axis, 4096n), ...pieceLabels(visible, w));
    svg.replaceChildren(...parts, overlay);
    drawOutlines();
    drawNavigator();
    const words = [scaleText(view), `${xenmm.range(BigInt(Math.floor(view.a)) * 4096n, BigInt(Math.ceil(view.b)) * 4096n)}`];
    if (thin) words.push(`${thin} of ${visible.length} ranges in view are narrower than 2 pixels: drawn 2 wide, marked ▾`);
    $("scale").textContent = words.join(" · ");
  }

  // Close up, where one frame ends and the next begins.
  function frameEdges(w) {
    const scale = w / (view.b - view.a), d = [];
    for (let at = Math.ceil(view.a); at < view.b; at++)
      d.push(`M${((at - view.a) * scale).toFixed(1)} ${Y.machine}v${Y.machineHeight}`);
    return make("path", { d: d.join(""), class: "edge" });
  }

  // SRAT rows as lines above the machine, dashed where memory may be plugged in; what is no RAM as a line below.
  function strips(w) {
    const group = make("g", {}), scale = w / (view.b - view.a);
    const line = (each, y, attributes) => {
      const a = Math.max((frames(each.start) - view.a) * scale, 0), b = Math.min((frames(each.end) - view.a) * scale, w);
      if (b > 0 && a < w) group.append(make("path", { d: `M${a.toFixed(1)} ${y}H${Math.max(b, a + 1).toFixed(1)}`, ...attributes }));
    };
    for (const row of srat) line(row, Y.machine - 8, { class: row.hotplug ? "srat plug" : "srat" });
    for (const other of others) line(other, Y.other + 2, { class: "other" });
    return group;
  }

  function pieceLabels(visible, w) {
    const scale = w / (view.b - view.a), out = [];
    for (const each of visible) {
      const a = Math.max((each.a - view.a) * scale, 0), b = Math.min((each.b - view.a) * scale, w);
      if (b - a < (each.node > 9 ? 30 : 22) || out.length > 200) continue;
      const name = each.node < 0 ? "" : `N${each.node}`, full = `${name} ${size(each.end - each.start)}`.trim();
      const text = b - a > full.length * 7.2 + 8 ? full : name;
      const halo = facts.nodes[each.node]?.[2] ?? "";
      out.push(make("text", { x: ((a + b) / 2).toFixed(1), y: Y.machine + 19, class: `on mid ${halo}` }, text));
    }
    return out;
  }

  function landingsOf(item, host) {
    if (!item.ram) return [];
    const a = Number((item.start + 4095n) >> 12n), b = Number(item.end >> 12n);
    return inView(landings[host].byMfn, a, b, (x) => x.mfn, (x) => x.mfn + x.frames).map((each) => {
      const from = Math.max(each.mfn, a), to = Math.min(each.mfn + each.frames, b);
      return { mfn: from, pdx: each.pdx + from - each.mfn, frames: to - from };
    });
  }

  function outline(item, name) {
    const w = width(), out = [];
    const add = (a, b, window, y, height) => {
      const scale = w / (window.b - window.a);
      const x0 = Math.max((a - window.a) * scale, -2), x1 = Math.min((b - window.a) * scale, w + 2);
      if (x1 >= -2 && x0 <= w + 2)
        out.push(make("rect", { x: (x0 - 1).toFixed(1), y: y - 2, width: Math.max(x1 - x0 + 2, 4).toFixed(1), height: height + 4, class: name }));
    };
    add(item.a, item.b, view, Y.machine, Y.machineHeight);
    facts.tracks.forEach((host, i) => {
      if (windows[i])
        for (const each of landingsOf(item, host).slice(0, 64))
          add(each.pdx, each.pdx + each.frames, windows[i], i ? Y.track1 : Y.track0, Y.trackHeight);
    });
    return out;
  }

  function drawNavigator() {
    const w = Math.max(nav.clientWidth, 200), scale = w / top;
    nav.setAttribute("viewBox", `0 0 ${w} 14`);
    const whole = view;
    view = { a: 0, b: top };
    const [all] = band(ram, (x) => x.a, (x) => x.b, view, 4, 6);
    view = whole;
    all.querySelector(".thin")?.remove();
    const wide = Math.max((view.b - view.a) * scale, 5);
    const left = Math.min(Math.max(view.a * scale - (wide === 5 ? 2 : 0), 0), w - wide);
    nav.replaceChildren(make("rect", { x: 0, y: 4, width: w, height: 6, class: "ground" }), all,
      make("rect", { x: left.toFixed(1), y: 0.5, width: wide.toFixed(1), height: 13, class: "window" }));
  }

  // Moving about.
  function show(a, b) {
    const span = Math.min(Math.max(b - a, VIEW_FRAMES_MIN), Math.max(limit, VIEW_FRAMES_MIN));
    const middle = (a + b) / 2;
    const left = Math.min(Math.max(middle - span / 2, 0), Math.max(limit - span, 0));
    view = { a: left, b: left + span };
    draw();
  }
  function zoom(factor, at = (view.a + view.b) / 2) {
    const span = Math.min(Math.max((view.b - view.a) * factor, VIEW_FRAMES_MIN), limit);
    const share = (at - view.a) / (view.b - view.a);
    show(at - span * share, at - span * share + span);
  }
  const pan = (share) => { const by = (view.b - view.a) * share; show(view.a + by, view.b + by); };
  const fit = (item) => { const pad = Math.max((item.b - item.a) * 0.15, 2); show(item.a - pad, item.b + pad); };

  function select(item, { follow = false, frame = null } = {}) {
    selected = item;
    if (follow && (item.b < view.a || item.a > view.b)) {
      const span = view.b - view.a, middle = (item.a + item.b) / 2;
      show(middle - span / 2, middle + span / 2);
    } else draw();
    describe(item, frame);
    $("range-said").textContent = panel.querySelector("h3").textContent + ", " + panel.querySelector("p").textContent;
  }

  // What is known of a range or hole.
  function describe(item, frame = null) {
    const text = (name, content, className) => {
      const made = document.createElement(name);
      made.textContent = content;
      if (className) made.className = className;
      return made;
    };
    const node = item.node >= 0 ? `RAM of node ${item.node}` : srat.length ? "RAM of no node" : "RAM";
    const head = item.ram ? `${node}, range ${item.number} of ${ram.length}` : "Hole: no RAM here";
    const bytes = item.end - item.start, mfns = [item.start >> 12n, (item.end + 4095n) >> 12n];
    const parts = [text("h3", head), text("p", `${xenmm.range(item.start, item.end)}, ${size(bytes)}`, "mono")];
    const count = mfns[1] - mfns[0];
    parts.push(text("p", `mfn ${xenmm.range(...mfns)}, ${count.toLocaleString("en")} frame${count === 1n ? "" : "s"}`, "mono"));
    const inside = (list) => list.filter((x) => x.start < item.end && x.end > item.start);
    const said = [
      ...inside(srat).map((x) => `SRAT node ${x.node}${x.hotplug ? ", hot-pluggable" : ""}`),
      ...(item.ram ? [] : inside(others).map((x) => `${x.label} ${xenmm.range(x.start, x.end)}`)),
    ];
    if (!item.ram && said.length) parts.push(text("p", said.slice(0, 4).join("; ") + (said.length > 4 ? `; and ${said.length - 4} more` : ""), "soft"));
    if (item.ram) parts.push(landingTable(item, text));
    const at = frame ?? (item.ram ? mfns[0] : null);
    if (at !== null) {
      const button = text("button", `convert mfn:${xenmm.hex(at)}`);
      button.type = "button";
      button.addEventListener("click", () => onFrame(at));
      parts.push(button);
    }
    panel.replaceChildren(...parts);
  }

  function landingTable(item, text) {
    const table = document.createElement("table");
    table.append(document.createElement("thead"), document.createElement("tbody"));
    const row = (where, cells, name) => {
      const tr = document.createElement("tr");
      tr.append(...cells.map((cell, i) => {
        const made = text(i && name !== "th" ? "td" : "th", cell, i && name !== "th" ? "mono" : "");
        if (made.tagName === "TH") made.scope = name === "th" ? "col" : "row";
        return made;
      }));
      where.append(tr);
    };
    row(table.tHead, ["profile", "pdx", "page_info records", "virtual addresses"], "th");
    for (const host of new Set([...facts.tracks, chosen])) {
      const p = hosts[host], name = facts.profiles[host].name, found = landingsOf(item, host);
      for (const each of found.slice(0, 3)) {
        const [a, b] = [BigInt(each.pdx), BigInt(each.pdx + each.frames)];
        row(table.tBodies[0], [name, xenmm.range(a, b),
          xenmm.range(p.frametable_virt_start + a * 32n, p.frametable_virt_start + b * 32n),
          xenmm.range(p.directmap_virt_start + a * 4096n, p.directmap_virt_start + b * 4096n)]);
      }
      if (found.length > 3) row(table.tBodies[0], [name, `and ${found.length - 3} more pieces`, "", ""]);
      for (const [s, e, reason] of facts.pool[facts.profiles[host].lost])
        if (BigInt(s) < item.end && BigInt(e) > item.start)
          row(table.tBodies[0], [name, `not used: ${size(BigInt(e) - BigInt(s))}`, reason, ""]);
    }
    const wide = text("div", "", "wide");
    wide.append(table);
    return wide;
  }

  // The pointer.
  function itemAt(event) {
    const bounds = svg.getBoundingClientRect(), w = width();
    const x = ((event.clientX - bounds.left) / bounds.width) * w, y = ((event.clientY - bounds.top) / bounds.height) * Y.height;
    for (const [i, host] of facts.tracks.entries()) {
      const top = i ? Y.track1 : Y.track0;
      if (windows[i] && y >= top - 3 && y <= top + Y.trackHeight + 3) {
        const scale = (windows[i].b - windows[i].a) / w, pdx = windows[i].a + x * scale;
        const list = landings[host].byPdx, at = first(list, (each) => each.pdx + each.frames + 3 * scale > pdx);
        const hit = list[at];
        if (!hit || hit.pdx - 3 * scale > pdx) return null;
        const mfn = hit.mfn + Math.min(Math.max(pdx - hit.pdx, 0), hit.frames - 1);
        return { item: items[first(items, (each) => each.b > mfn)], frame: frameAt(mfn, scale) };
      }
    }
    if (y < Y.machine - 12 || y > Y.other + 8) return null;
    const scale = (view.b - view.a) / w, at = view.a + x * scale;
    const i = first(items, (each) => each.b > at);
    const near = [items[i], items[i - 1], items[i + 1]].find((each) => each?.ram && each.a - 3 * scale <= at && each.b + 3 * scale >= at);
    const item = near ?? items[i] ?? null;
    if (at < 0 || at >= top) return null;
    return item && { item, frame: frameAt(at, scale) };
  }
  const frameAt = (at, scale) => (scale <= 1 ? BigInt(Math.floor(at)) : null);

  let drag = null;
  svg.addEventListener("pointermove", (event) => {
    if (drag) {
      const by = ((drag.x - event.clientX) / width()) * (drag.b - drag.a);
      if (Math.abs(drag.x - event.clientX) > 3) drag.moved = true;
      if (drag.moved) show(drag.a + by, drag.b + by);
      return;
    }
    const hit = itemAt(event);
    if (hit?.item === hovered && !hit?.frame) return;
    hovered = hit?.item ?? null;
    drawOutlines();
    if (hit) describe(hit.item, hit.frame);
    else if (selected) describe(selected);
  });
  svg.addEventListener("pointerleave", () => { hovered = null; drawOutlines(); if (selected) describe(selected); });
  svg.addEventListener("pointerdown", (event) => { if (event.button === 0) { drag = { x: event.clientX, ...view }; svg.setPointerCapture(event.pointerId); } });
  svg.addEventListener("pointerup", (event) => {
    const moved = drag?.moved;
    drag = null;
    const hit = moved ? null : itemAt(event);
    if (hit) select(hit.item, { frame: hit.frame });
  });
  svg.addEventListener("pointercancel", () => { drag = null; });
  svg.addEventListener("dblclick", (event) => { const hit = itemAt(event); if (hit) fit(hit.item); });
  box.addEventListener("wheel", (event) => {
    if (!(event.ctrlKey || event.metaKey || box.contains(document.activeElement))) return;
    event.preventDefault();
    const bounds = svg.getBoundingClientRect();
    const at = view.a + ((event.clientX - bounds.left) / bounds.width) * (view.b - view.a);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / width());
    else zoom(Math.exp(event.deltaY / 300), at);
  }, { passive: false });

  // The keyboard, on the figure itself.
  const step = (by) => {
    const at = selected ? selected.index + by : by > 0 ? 0 : items.length - 1;
    select(items[Math.min(Math.max(at, 0), items.length - 1)], { follow: true });
  };
  const KEYS = {
    ArrowRight: (e) => (e.shiftKey ? pan(0.25) : step(1)), ArrowLeft: (e) => (e.shiftKey ? pan(-0.25) : step(-1)),
    ArrowUp: () => zoom(0.5, focusPoint()), ArrowDown: () => zoom(2, focusPoint()),
    "+": () => zoom(0.5, focusPoint()), "=": () => zoom(0.5, focusPoint()), "-": () => zoom(2, focusPoint()),
    0: () => show(0, top), PageDown: () => step(10), PageUp: () => step(-10),
    Home: () => select(items[0], { follow: true }), End: () => select(items.at(-1), { follow: true }),
    Enter: () => selected && fit(selected),
  };
  function focusPoint() {
    const middle = selected ? (selected.a + selected.b) / 2 : (view.a + view.b) / 2;
    return middle >= view.a && middle <= view.b ? middle : (view.a + view.b) / 2;
  }
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key](event);
  });
  box.addEventListener("focus", () => { if (!selected && items.length) select(items.find((item) => item.ram)); });

  const click = (id, act) => $(id).addEventListener("click", act);
  click("zoom-in", () => zoom(0.25, focusPoint()));
  click("zoom-out", () => zoom(4, focusPoint()));
  click("zoom-all", () => show(0, top));
  click("pan-left", () => pan(-0.5));
  click("pan-right", () => pan(0.5));
  const goTo = (item) => { if (item) { select(item); fit(item); } };
  const stepRam = (by) => {
    const at = selected?.ram ? selected.number - 1 + by : by > 0 ? 0 : ram.length - 1;
    goTo(ram[Math.min(Math.max(at, 0), ram.length - 1)]);
  };
  click("range-before", () => stepRam(-1));
  click("range-after", () => stepRam(1));
  click("range-smallest", () => goTo(ram.reduce((least, x) => (x.end - x.start < least.end - least.start ? x : least), ram[0])));
  click("hole-largest", () => goTo(items.filter((x) => !x.ram).reduce((most, x) => (!most || x.end - x.start > most.end - most.start ? x : most), null)));

  let sliding = false;
  const slide = (event) => {
    const bounds = nav.getBoundingClientRect(), at = ((event.clientX - bounds.left) / bounds.width) * top;
    show(at - (view.b - view.a) / 2, at + (view.b - view.a) / 2);
  };
  nav.addEventListener("pointerdown", (event) => { sliding = true; nav.setPointerCapture(event.pointerId); slide(event); });
  nav.addEventListener("pointermove", (event) => sliding && slide(event));
  nav.addEventListener("pointerup", () => { sliding = false; });

  // The figure with folded holes answers to the pointer too.
  const byStart = new Map(ram.map((each) => [xenmm.hex(each.start), each]));
  for (const rect of document.querySelectorAll(".folded [data-at]")) {
    const item = byStart.get(rect.dataset.at);
    rect.addEventListener("pointerenter", () => { hovered = item; drawOutlines(); describe(item); });
    rect.addEventListener("pointerleave", () => { hovered = null; drawOutlines(); if (selected) describe(selected); });
    rect.addEventListener("click", () => goTo(item));
  }

  new ResizeObserver(draw).observe(box);
  draw();
  if (ram.length) describe((selected = ram.at(-1)));
  return { choose(host) { chosen = host; if (selected) describe(selected); draw(); }, view: () => ({ ...view }) };
}
