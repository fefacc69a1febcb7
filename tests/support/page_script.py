"""The page's arithmetic outside the page: xenmm/report/page/convert.js run by node, asked line by line."""

import json
import shutil
import subprocess

import numpy as np

from xenmm.report.assets import asset
from xenmm.report.page.facts import script_params

NODE = shutil.which("node") or shutil.which("nodejs")

_SERVE = """
const known = new Map();
const parameters = (given) => {
  const key = JSON.stringify(given);
  if (!known.has(key)) {
    known.clear();
    known.set(key, xenmm.parameters({ ...given, groups: given.groups.map(BigInt) }));
  }
  return known.get(key);
};
const ask = {
  convert: ({ params, name, x }) => {
    const p = parameters(params);
    return x.map((v) => xenmm.hex(BigInt(xenmm[name](p, BigInt(v)))));
  },
  forms: ({ params, text }) => text.map((t) => {
    try {
      const [kind, value] = xenmm.parseValue(t);
      if (params === null) return { answer: [kind, xenmm.hex(value)] };
      return { answer: xenmm.formsOf(parameters(params), kind, value) };
    } catch (error) {
      return { error: error.message };
    }
  }),
};
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const asked = JSON.parse(line);
  console.log(JSON.stringify(ask[asked.ask](asked)));
});
"""


def group_runs(bitmap):
    """Half-open runs of the bits that are set."""
    edges = np.flatnonzero(
        np.diff(np.r_[0, np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little"), 0])
    )
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def params_of(host):
    """What the page tells its script of a host, from the frozen parameters alone."""
    params = dict(host.params)
    return script_params(params, group_runs(params["pdx_group_valid"]))


class Script:
    """A node process that answers; close it when done."""

    def __init__(self):
        text = asset("convert.js") + _SERVE
        self._node = subprocess.Popen(
            [NODE, "-e", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def _ask(self, **asked):
        print(json.dumps(asked), file=self._node.stdin, flush=True)
        return json.loads(self._node.stdout.readline())

    def conversions(self, host):
        """The conversions of a host: name, inputs -> answers, as ``embeddings`` asks."""
        params = params_of(host)

        def ask(name, x):
            answers = self._ask(ask="convert", params=params, name=name, x=[str(int(v)) for v in x])
            return np.array([int(v, 16) for v in answers], dtype=np.uint64)

        return ask

    def forms(self, texts, host=None):
        """For each text what the page's box says: an answer or an error; without a host, what was read."""
        return self._ask(ask="forms", params=None if host is None else params_of(host), text=list(texts))

    def close(self):
        self._node.stdin.close()
        self._node.stdout.close()
        assert self._node.wait(10) == 0
