"""Starts the runner: `python tests/faults --help`."""

import importlib
import sys
from pathlib import Path

# Tests are not a package; what is in this folder is imported as `faults`.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.exit(importlib.import_module("faults.runner").main())
