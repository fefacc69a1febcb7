"""Long random sequences of operations, each answered as the slow model answers it, and audited."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from machine_pair import Driver, Pair


@pytest.mark.parametrize("flavour", ["naive", "cse"])
@pytest.mark.parametrize("seed", range(4))
def test_random_sequence_same_answers_same_state(seed, flavour):
    pair = Pair(flavour=flavour)
    driver = Driver(pair, random.Random(seed))
    for number in range(4):
        pair.create(number, 5000, number == 3, number == 1, 3, 4, 4)
    for _phase in range(6):
        for _ in range(400):
            driver.step()
        pair.compare()
    pair.all_home()


class Stateful(RuleBasedStateMachine):
    """The same driver under hypothesis, which shrinks what fails."""

    def __init__(self):
        super().__init__()
        self.pair = Pair()
        for number in range(3):
            self.pair.create(number, 3000, number == 2, number == 1, 2, 2, 2)

    @rule(seed=st.integers(0, 1 << 30), name=st.sampled_from([n for n in dir(Driver) if n.startswith("do_")]))
    def step(self, seed, name):
        getattr(Driver(self.pair, random.Random(seed)), name)()

    @invariant()
    def free_pages_agree(self):
        assert self.pair.fast.free_pages == self.pair.slow.heap.free_pages()

    def teardown(self):
        self.pair.compare()
        self.pair.all_home()


Stateful.TestCase.settings = settings(
    max_examples=12, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStateful = Stateful.TestCase
