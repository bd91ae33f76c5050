"""The shape of the source: short files, and words for whoever calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamlab

ROOT = Path(streamlab.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py") if "node_modules" not in p.parts)
MOST_LINES = 400


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_longer_than_a_reader_can_hold():
    lengths = {named(path): len(path.read_text().splitlines()) for path in FILES}

    assert {n: count for n, count in lengths.items() if count > MOST_LINES} == {}


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes of a module, and public methods of its public classes that no
    base class documents."""
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases
        ):
            yield from (
                f"{node.name}.{method.name}"
                for method in node.body
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
                and ast.get_docstring(method) is None
            )


@pytest.mark.parametrize("path", FILES, ids=named)
def test_what_is_public_says_what_it_is_for(path: Path):
    tree = ast.parse(path.read_text())

    assert ast.get_docstring(tree), "the module has no docstring"
    assert list(undocumented(tree)) == []


def test_what_users_call_has_a_docstring():
    for home in (streamlab.LiveFrame, streamlab.Topic, streamlab.Broker):
        for base in home.__mro__:
            if not base.__module__.startswith("streamlab"):
                continue
            public = [
                (name, thing)
                for name, thing in vars(base).items()
                if not name.startswith("_")
                and (callable(thing) or isinstance(thing, property))
            ]
            silent = [n for n, thing in public if not thing.__doc__]
            assert [n for n in silent if n not in {"needs", "retire"}] == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_file_begins_alike(path: Path):
    text = path.read_text()
    only_words = len(ast.parse(text).body) <= 1

    assert only_words or "from __future__ import annotations" in text
    assert "TYPE_CHECKING" not in text
