"""What every test shares: no example of hypothesis is judged by the wall clock."""

import functools
import gc

from hypothesis import HealthCheck, settings

settings.register_profile("xenmm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xenmm")


def pytest_sessionstart():
    """Forget what functions keep of their results: mutmut runs the tests again and again in forks of one
    process, and what that has kept would stand in for a function that was changed."""
    kept = type(functools.cache(len))
    for found in gc.get_objects():
        # By type: isinstance would ask a weak proxy for what it stands for, which may be gone.
        if type(found) is kept and str(found.__module__).startswith("xenmm"):
            found.cache_clear()
