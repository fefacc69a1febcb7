"""Long random sequences of operations: every answer and the whole state as the slow model's, audited."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from machine_driver import DOMAINS, Driver
from machine_pair import NAMES, Pair
from machines import high_host

HOSTS = (
    {"profile": "xen-offset"},
    {"profile": "xen-mask", "map_by": "frame"},
    {"profile": "sparse-m2p"},
    {"profile": "xen-offset", "mapcache": 2, "cpus": 2},
    {"profile": "sparse-m2p", "cpus": 64},
)


@pytest.mark.parametrize("flavour", ["naive", "cse"])
@pytest.mark.parametrize("options", HOSTS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_random_sequence_same_answers_same_state(options, flavour, tmp_path):
    play(Pair(folder=tmp_path, flavour=flavour, **options), f"{options} {flavour}")


@pytest.mark.parametrize("seed", range(2))
def test_random_sequence_on_frames_of_more_than_32_bits(seed, tmp_path):
    play(Pair(high_host(), folder=tmp_path, cpus=2), seed)


def play(pair, seed, phases=6):
    driver = Driver(pair.slow, random.Random(seed))
    for operation in DOMAINS:
        pair.apply(operation)
    for _ in range(phases):
        for _ in range(400):
            pair.apply(driver.step())
        pair.compare()
    pair.all_home()


def operations():
    """Names of the driver's operations."""
    return [name for name in dir(Driver) if name.startswith("op_")]


def test_the_driver_knows_every_operation():
    assert {f"op_{name}" for name in NAMES.values()} <= set(operations())


def test_each_operation_succeeds_and_fails():
    # Not only what is refused, and not only what works, is compared.
    pair = Pair(mapcache=2, cpus=2)
    driver = Driver(pair.slow, random.Random(5))
    done = {}
    for operation in DOMAINS:
        pair.apply(operation)
    for _ in range(4000):
        operation = driver.step()
        answer = pair.apply(operation)
        if operation[0] in NAMES.values() or operation[0] in ("copy", "exchange", "set_version"):
            done.setdefault(operation[0], set()).add(answer == 0)
    assert {name for name, outcomes in done.items() if outcomes != {True, False}} == set()


class Stateful(RuleBasedStateMachine):
    """Each operation of the driver is a rule; hypothesis chooses all that the driver leaves to chance."""

    def __init__(self):
        super().__init__()
        self.pair = Pair()
        for operation in DOMAINS[1:]:
            self.pair.apply(operation)

    def teardown(self):
        self.pair.compare()
        self.pair.all_home()


def _rule(name):
    def step(self, rng):
        operation = getattr(Driver(self.pair.slow, rng), name)()
        if operation is not None:
            self.pair.apply(operation)

    step.__name__ = name
    return rule(rng=st.randoms(use_true_random=False))(step)


for _name in operations():
    setattr(Stateful, _name, _rule(_name))
Stateful.TestCase.settings = settings(
    max_examples=15, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStateful = Stateful.TestCase
