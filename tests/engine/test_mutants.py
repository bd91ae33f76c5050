"""The list of broken rules keeps step with the code; `python -m tests.mutate` runs it."""

from __future__ import annotations

import ast

import pytest

from tests.mutate.listed import MUTANTS
from tests.mutate.mutant import ROOT, Mutant

NAMES = [f"{each.file}: {each.name}" for each in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_every_rule_to_break_is_still_there_and_breaks_into_code(mutant: Mutant):
    broken = mutant.applied()

    whole = (ROOT / "streamlab" / mutant.file).read_text("utf-8")
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(whole))
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).exists()


def test_there_are_many_and_each_has_its_name():
    assert len(MUTANTS) >= 40
    assert len(set(NAMES)) == len(NAMES)
