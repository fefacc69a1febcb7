"""Write tests/data/vectors.json: inputs and outputs of every conversion for assorted boot parameters.

Run from the tree's root as ``python tests/support/make_vectors.py``. The outputs are the slow model's;
the C text, the Cython text and every embedding must reproduce them.
"""

import json
import random
from pathlib import Path

from hosts import assorted_params, domain_edges
from oracle import CONVERSIONS, Oracle

TARGET = Path(__file__).parent.parent / "data" / "vectors.json"
COUNT = 48


def vectors(name, params):
    oracle = Oracle(params)
    rng = random.Random(f"xenmm {name}")
    columns = {}
    for conversion in (*CONVERSIONS, "mfn_valid"):
        edges = domain_edges(params, conversion)
        inputs = sorted(
            rng.sample(edges, min(COUNT - 8, len(edges))) + [rng.getrandbits(64) for _ in range(8)]
        )
        columns[conversion] = {
            "x": [hex(x) for x in inputs],
            "y": [hex(getattr(oracle, conversion)(x)) for x in inputs],
        }
        if conversion != "mfn_valid":
            columns[conversion]["in_domain"] = [int(oracle.in_domain(conversion, x)) for x in inputs]
    plain = {**params, "pdx_group_valid": params["pdx_group_valid"].hex()}
    return {"params": plain, "conversions": columns}


if __name__ == "__main__":
    sets = {name: vectors(name, params) for name, params in assorted_params().items()}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sets.items())
    TARGET.write_text("{" + text + "}\n")
