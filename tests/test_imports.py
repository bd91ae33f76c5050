"""What `import streamlab` costs, and what it offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import streamlab

ROOT = Path(streamlab.__file__).parent
HEAVY = [
    "IPython",
    "aiokafka",
    "altair",
    "anywidget",
    "hiredis",
    "ipywidgets",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "redis",
]


def test_importing_loads_no_heavy_library():
    program = (
        f"import sys, streamlab; print([m for m in {HEAVY!r} if m in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


def test_reading_a_topic_loads_neither_altair_nor_a_client_it_does_not_need():
    program = (
        "import sys, streamlab as sl\n"
        "t = sl.connect('memory://lab').topic('a'); t.send([{'n': 1}]); t.read()\n"
        "live = t.live(start='earliest'); live.wait(); live.status(); live.stop()\n"
        f"heavy = {[m for m in HEAVY if m not in ('numpy', 'pandas', 'polars', 'pyarrow')]!r}\n"
        "print([m for m in heavy if m in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


def test_the_public_names_are_few_sorted_and_there():
    names = streamlab.__all__

    assert names == sorted(names)
    assert len(names) <= 20
    for name in names:
        assert getattr(streamlab, name) is not None
        assert name in dir(streamlab)
    assert not hasattr(streamlab, "no_such_name")


def test_the_stub_offers_the_same_names_from_the_same_modules():
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    offered = {
        alias.asname: f"{node.module}"
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    functions = {n.name for n in stub.body if isinstance(n, ast.FunctionDef)}

    assert {*offered, *functions} == set(streamlab.__all__)
    for name, module in vars(streamlab)["_HOME"].items():
        assert offered[name] == module


def test_no_module_hides_a_public_function():
    modules = {path.stem for path in ROOT.glob("*.py")} | {
        path.parent.name for path in ROOT.glob("*/__init__.py")
    }

    assert modules & set(streamlab.__all__) <= {"errors"}
