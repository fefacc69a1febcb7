"""``python -m xenmm`` is the ``xenmm`` command."""

import sys

from .cli import main

sys.exit(main())
