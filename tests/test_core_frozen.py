"""A booted host does not change: every route that Python offers is tried."""

import copy
import mmap
import os
import subprocess
import sys
import threading

import pytest
from hosts import assorted_params, freeze, make_host, make_params

from xenmm._core import HostCore, PdxTranslation

PARAMS = assorted_params()["mask-7-bits"]
FRAME = 0x12345


class Host(HostCore):
    __slots__ = ()


@pytest.fixture(params=[HostCore, Host])
def host(request):
    return request.param(freeze(PARAMS), "the plan")


def test_no_attribute_can_be_set_or_deleted(host):
    for name in ("params", "plan", "capsule", "mfn_to_page", "p", "anything", "__class__", "__dict__"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(host, name, None)
        with pytest.raises(AttributeError, match="does not change"):
            delattr(host, name)
        with pytest.raises((TypeError, AttributeError)):
            object.__setattr__(host, name, None)
        with pytest.raises((TypeError, AttributeError)):
            object.__delattr__(host, name)
    assert not hasattr(host, "__dict__")


def test_its_type_cannot_be_changed():
    with pytest.raises(TypeError, match="immutable"):
        HostCore.mfn_to_page = None
    with pytest.raises(TypeError):
        type.__setattr__(HostCore, "mfn_to_page", None)


def test_the_class_of_a_host_cannot_be_swapped():
    class Other(HostCore):
        __slots__ = ()

    host = Host(freeze(PARAMS), None)
    with pytest.raises(AttributeError):
        host.__class__ = Other
    with pytest.raises((TypeError, AttributeError)):
        object.__setattr__(host, "__class__", Other)
    assert type(host) is Host


def test_a_second_init_changes_nothing(host):
    before = host.mfn_to_page(FRAME)
    host.__init__(freeze(make_params([(0, 1)], 1, 1)), "another plan")
    assert host.plan == "the plan"
    assert host.mfn_to_page(FRAME) == before


def test_it_lends_no_buffer(host):
    for value in (host, host.params, host.capsule):
        with pytest.raises(TypeError):
            memoryview(value)


def test_a_subclass_with_a_dict_of_its_own_does_not_reach_the_parameters():
    class Loose(HostCore):
        pass

    host = Loose(freeze(PARAMS), None)
    before = host.mfn_to_virt(FRAME)
    with pytest.raises(AttributeError):
        host.params = None
    host.__dict__["params"] = None
    assert host.params is not None
    assert host.mfn_to_virt(FRAME) == before


def test_copies_are_the_host_itself(host):
    assert copy.copy(host) is host
    assert copy.deepcopy(host) is host


def test_a_core_is_not_pickled(host):
    with pytest.raises(TypeError):
        host.__reduce_ex__(2)


def test_made_only_from_frozen_parameters():
    for wrong in (None, PARAMS, object()):
        with pytest.raises(TypeError, match="frozen boot parameters"):
            HostCore(wrong, None)


def test_the_capsule_keeps_the_struct_alive():
    capsule = make_host(PARAMS).capsule
    code_that_reuses_memory = [make_host(PARAMS) for _ in range(50)]
    del code_that_reuses_memory
    import ctypes

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    version = ctypes.c_uint32.from_address(get(capsule, b"xenmm.xenmm_params"))
    assert version.value == 1


WRITE = """
import ctypes
from hosts import assorted_params, make_host
host = make_host(assorted_params()["none"])
get = ctypes.pythonapi.PyCapsule_GetPointer
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
capsule = host.capsule
address = get(capsule, b"xenmm.xenmm_params")
print(ctypes.c_uint32.from_address(address).value, flush=True)
ctypes.c_uint32.from_address(address).value = 2
print("written")
"""


def test_the_processor_refuses_a_write_to_the_struct():
    # Even ctypes, which no rule of Python binds, meets the read-only page: the process dies of the fault.
    result = subprocess.run(
        [sys.executable, "-c", WRITE],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert result.stdout == "1\n", result.stderr
    assert result.returncode != 0


def test_the_struct_stands_in_pages_of_its_own():
    import ctypes

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = make_host(PARAMS).capsule
    assert get(capsule, b"xenmm.xenmm_params") % mmap.PAGESIZE == 0


def test_threads_share_one_host():
    host = make_host(PARAMS)
    expected = [host.mfn_to_page_unchecked(x) for x in range(2000)]
    wrong = []

    def work():
        if [host.mfn_to_page(x) for x in range(2000)] != expected:
            wrong.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_translation_alone_serves_boot():
    translation = PdxTranslation(
        {k: PARAMS[k] for k in PARAMS if "mask" in k or k.startswith("pdx_c")}
        | {"pfn_pdx_hole_shift": PARAMS["pfn_pdx_hole_shift"]}
    )
    host = make_host(PARAMS)
    for x in (0, FRAME, 1 << 30, (1 << 64) - 1):
        assert translation.mfn_to_pdx(x) == host.mfn_to_pdx_unchecked(x)
        assert translation.pdx_to_mfn(x) == host.pdx_to_mfn_unchecked(x)
    assert PdxTranslation({}).mfn_to_pdx(77) == 77
    with pytest.raises(AttributeError):
        translation.anything = 1
    with pytest.raises(OverflowError):
        translation.mfn_to_pdx(-1)
