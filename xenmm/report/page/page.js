// The page's own wiring: the theme, the profile in effect, the box that converts, the bars of the virtual layout.
"use strict";

{
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const hosts = facts.profiles.map((profile) =>
    xenmm.parameters({ ...profile.params, groups: facts.pool[profile.params.groups].map(BigInt) }));
  const $ = (id) => document.getElementById(id);
  document.documentElement.classList.add("scripted");

  for (const radio of document.querySelectorAll("input[name=theme]"))
    radio.addEventListener("change", () => {
      if (radio.value) document.documentElement.dataset.theme = radio.value;
      else delete document.documentElement.dataset.theme;
    });

  // Converting.
  const given = $("convert-value"), out = $("convert-out"), problem = $("convert-error");
  let chosen = facts.profiles.length - 1;
  const cell = (name, text, className) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  function answer(text) {
    const [kind, value] = xenmm.parseValue(text);
    return xenmm.formsOf(hosts[chosen], kind, value);
  }
  function convert() {
    out.replaceChildren();
    problem.textContent = "";
    if (!given.value) return;
    let found;
    try {
      found = answer(given.value);
    } catch (error) {
      problem.textContent = error.message;
      given.setAttribute("aria-invalid", "true");
      return;
    }
    given.removeAttribute("aria-invalid");
    const table = document.createElement("table"), body = document.createElement("tbody");
    for (const [name, form] of Object.entries(found.forms)) {
      const row = document.createElement("tr"), head = cell("th", name);
      head.scope = "row";
      row.append(head, cell("td", form.value, "mono"), cell("td", form.how, "mono how"));
      body.append(row);
    }
    table.append(cell("caption", `under ${facts.profiles[chosen].name}, ${facts.profiles[chosen].squeezed}`), body);
    const verdict = cell("p", (found.valid ? "valid: " : "not valid: ") + found.why.join("; "), found.valid ? "valid" : "invalid");
    out.append(table, verdict);
    out.dataset.answer = JSON.stringify(found);
  }
  $("convert").addEventListener("submit", (event) => { event.preventDefault(); convert(); });
  given.addEventListener("input", () => {
    try { xenmm.parseValue(given.value); } catch { out.replaceChildren(); problem.textContent = ""; return; }
    convert();
  });
  for (const example of document.querySelectorAll("button.example"))
    example.addEventListener("click", () => { given.value = example.textContent; convert(); given.focus(); });

  const map = explorer(facts, hosts, (mfn) => {
    given.value = `mfn:${xenmm.hex(mfn)}`;
    convert();
    given.focus();
  });

  // The profile in effect is one, wherever it is chosen.
  const selects = document.querySelectorAll("select.profile");
  function choose(host) {
    chosen = host;
    for (const select of selects) select.value = String(host);
    for (const panel of document.querySelectorAll("[data-profiles]"))
      panel.classList.toggle("off", !panel.dataset.profiles.split(" ").includes(String(host)));
    map.choose(host);
    if (given.value) convert();
  }
  for (const select of selects) select.addEventListener("change", () => choose(Number(select.value)));
  given.value = document.querySelector("button.example")?.textContent ?? "";
  choose(Number(selects[0].value));

  // A bar of the virtual layout tells what stands at an address.
  const said = $("layout-said");
  const atBar = (bar, share) => {
    const host = hosts[chosen], start = BigInt(bar.dataset.start), size = BigInt(bar.dataset.size);
    const off = (size * BigInt(Math.floor(share * 1e6))) / 1000000n;
    const table = bar.dataset.table;
    let mfn, what;
    if (table === "frame_table") {
      const pdx = off / 32n;
      mfn = xenmm.pdx_to_mfn(host, pdx);
      what = `page_info of pdx ${xenmm.hex(pdx)}, mfn ${xenmm.hex(mfn)}`;
    } else if (table === "direct_map") {
      mfn = xenmm.pdx_to_mfn(host, off >> 12n);
      what = `mfn ${xenmm.hex(mfn)}`;
    } else {
      mfn = off / (table.includes("compat") ? 4n : 8n);
      what = `entry of mfn ${xenmm.hex(mfn)}`;
    }
    const valid = xenmm.mfn_valid(host, mfn) ? "valid" : "not valid";
    return `${bar.dataset.name}: ${xenmm.hex(start + off)}: ${what} (${valid})`;
  };
  for (const bar of document.querySelectorAll("svg.bar"))
    for (const kind of ["pointermove", "pointerdown"])
      bar.addEventListener(kind, (event) => {
        const bounds = bar.getBoundingClientRect();
        said.textContent = atBar(bar, Math.min(Math.max((event.clientX - bounds.left) / bounds.width, 0), 0.999999));
      });

  // Paper shows everything.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
}
