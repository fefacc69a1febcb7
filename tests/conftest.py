"""What every test shares: no example of hypothesis is judged by the wall clock."""

from hypothesis import HealthCheck, settings

settings.register_profile("xenmm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xenmm")
