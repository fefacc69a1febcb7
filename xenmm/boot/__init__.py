"""Write-once time: boot an emulated Xen memory layer on a memory map, then freeze it.

This package is also the function ``xenmm.boot``: Python binds a subpackage to its name in the parent as
soon as it is imported, so the package itself is callable and passes the call on to :func:`.host.boot`;
``help(xenmm.boot.host.boot)`` tells its parameters.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .host import boot

        return boot(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
