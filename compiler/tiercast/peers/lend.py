"""Runs a module of `tiercast` in a Python that does not have it, nor anything that lies beside it:

`python lend.py MODULE ARGUMENT...`
"""

import importlib.util
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose modules are nobody's top level
    spec = importlib.util.spec_from_file_location("tiercast", Path(__file__).parent.parent / "__init__.py")
    assert spec is not None and spec.loader is not None
    sys.modules["tiercast"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["tiercast"])
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
