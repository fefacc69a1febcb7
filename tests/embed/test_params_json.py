"""The struct as JSON: every field, exactly, beside a map that reads back."""

import json
import re

import pytest
from embeddings import ROOT
from hosts import assorted_params, make_host

import xenmm
from xenmm._embed import struct_values
from xenmm.embed import export

FIELD = re.compile(r"^    (?:const )?uint\d+_t \*?(\w+)(?:\[\w+\])?;", re.MULTILINE)


def header_fields():
    text = (ROOT / "include" / "xenmm.h").read_text()
    return FIELD.findall(text.partition("typedef struct xenmm_params {")[2].partition("} xenmm_params;")[0])


@pytest.mark.parametrize("which", sorted(assorted_params()))
def test_fields_are_the_headers_in_its_order_with_the_parameters_values(which):
    params = assorted_params()[which]
    frozen = json.loads(export(make_host(params), "json"))["frozen"]
    fields = header_fields()
    assert [k for k in frozen if k in fields] == fields and len(fields) > 25
    for name, value in params.items():
        if name == "pdx_group_valid":
            words = b"".join(int(w, 16).to_bytes(8, "little") for w in frozen[name])
            assert words.rstrip(b"\0") == value.rstrip(b"\0")
            assert int(frozen["pdx_group_count"], 16) == 8 * len(value)
        elif isinstance(value, list | tuple):
            unused = (1 << 64) - 1 if name == "pfn_bases" else 0
            got = [int(v, 16) for v in frozen[name]]
            assert got == [v % (1 << 64) for v in value] + [unused] * (64 - len(value))
        elif name == "pdx_compression":
            assert frozen["compression"] == value
            assert int(frozen["mode"], 16) == ("none", "mask", "offset").index(value)
        elif value is not None:
            assert int(frozen[name], 16) == value


def test_struct_values_follow_the_header():
    host = make_host(assorted_params()["offset-2"])
    assert list(struct_values(host.capsule)) == header_fields()


def test_json_of_a_booted_host_is_a_map_that_boots_to_the_same_struct():
    first = xenmm.boot(
        xenmm.MemoryMap.from_ranges([(0, 1 << 31), (1 << 40, 3 << 39)], [(0, 1 << 31), (1 << 40, 3 << 39)])
    )
    text = first.export("json")
    again = xenmm.boot(xenmm.read_map(text))
    assert json.loads(again.export("json"))["frozen"] == json.loads(text)["frozen"]
    assert xenmm.boot(xenmm.read_map(text), profile="xen-none").export("json") != text
