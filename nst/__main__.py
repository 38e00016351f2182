"""`python -m nst` is `nst`."""

import sys
from pathlib import Path

# Python looks for modules in the current folder first, and a `compare.py` there is none of ours.
if not sys.flags.safe_path and Path(__file__).resolve().parents[1] != Path.cwd():
    del sys.path[0]

from nst.cli import main

sys.exit(main())
