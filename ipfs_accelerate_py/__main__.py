"""`python -m ipfs_accelerate_py` is `ipfs-accelerate`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
