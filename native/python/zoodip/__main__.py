"""`python -m zoodip`: the program, or, where torchrun starts it, one rank of it."""

from __future__ import annotations

import sys

from ._program import main

if __name__ == "__main__":
    sys.exit(main())
