from __future__ import annotations

import importlib.util
import math
import sys
import threading

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlab.plans.codec import Value, pack, unpack
from streamlab.plans.steady import steady
from streamlab.plans.tree import from_tree, has_return_type, is_elementwise, to_tree
from tests.plans.examples import EXAMPLES
from tests.plans.odd import odd_frame

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(max_size=40), inner, max_size=20)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_what_is_packed_is_unpacked_the_same(value: Value) -> None:
    assert unpack(pack(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81\xa1a", b"\xd9\x05ab", b"\x01\x01"]
)
def test_damaged_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library words it
        unpack(data)


@settings(max_examples=200, deadline=None)
@given(value=st.floats())
def test_a_float_literal_comes_back_bit_by_bit(value: float) -> None:
    found = pl.select(from_tree(to_tree(pl.lit(value)))).item()

    assert found == value or (math.isnan(found) and math.isnan(value))


def test_an_expression_and_its_tree_compute_the_same() -> None:
    rows = odd_frame(20)

    for expr in EXAMPLES:
        if "map" not in str(expr) and "udf" not in str(expr):
            assert rows.select(from_tree(to_tree(expr))).equals(rows.select(expr)), expr


def test_the_shapes_that_are_relied_on_are_those_of_this_polars() -> None:
    a = pl.col("a")
    one: Value = {"Literal": {"Dyn": {"Int": bytes(15) + b"\x01"}}}
    column: Value = {"Column": "a"}
    compared: Value = {"BinaryExpr": {"left": column, "op": "Gt", "right": one}}

    assert to_tree(a > 1) == compared
    assert to_tree((a / 1).sum()) == {
        "Agg": {
            "Sum": {"BinaryExpr": {"left": column, "op": "TrueDivide", "right": one}}
        }
    }
    assert to_tree(pl.len()) == "Len"
    assert to_tree(a.alias("x")) == {"Alias": [column, "x"]}
    assert to_tree(a.filter(a > 1)) == {"Filter": {"input": column, "by": compared}}
    assert to_tree(a.min()) == {
        "Agg": {"Min": {"input": column, "propagate_nans": False}}
    }
    assert to_tree(a.count()) == {
        "Agg": {"Count": {"input": column, "include_nulls": False}}
    }
    assert to_tree(a.std(ddof=0)) == {"Agg": {"Std": [column, 0]}}
    assert to_tree(a.any()) == {
        "Function": {
            "input": [column],
            "function": {"Boolean": {"Any": {"ignore_nulls": True}}},
        }
    }
    assert to_tree(a.null_count()) == {
        "Function": {"input": [column], "function": "NullCount"}
    }
    assert to_tree(pl.all()) == {"Selector": "Wildcard"}
    assert to_tree(a.cast(pl.Float64)) == {
        "Cast": {"expr": column, "dtype": {"Literal": "Float64"}, "options": "Strict"}
    }
    assert to_tree(pl.when(a > 1).then(a).otherwise(1)) == {
        "Ternary": {"predicate": compared, "truthy": column, "falsy": one}
    }


def anonymous(expr: pl.Expr) -> Value:
    tree = to_tree(expr)
    assert isinstance(tree, dict)
    return tree["AnonymousFunction"]


def test_functions_of_values_and_of_batches_are_told_apart_by_their_flags() -> None:
    a, typed = pl.col("a"), pl.Int64

    single = anonymous(a.map_elements(lambda x: x, return_dtype=typed))
    batch = anonymous(a.map_batches(lambda x: x, return_dtype=typed))
    declared = anonymous(
        a.map_batches(lambda x: x, return_dtype=typed, is_elementwise=True)
    )
    groups = anonymous(pl.map_groups(["a"], lambda x: x[0], return_dtype=typed))
    untyped = anonymous(a.map_elements(lambda x: x))

    assert is_elementwise(single)
    assert is_elementwise(declared)
    assert not is_elementwise(batch)
    assert not is_elementwise(groups)
    assert has_return_type(single)
    assert not has_return_type(untyped)


def test_a_function_that_can_not_be_copied_is_no_obstacle() -> None:
    lock = threading.Lock()

    def guarded(value: int) -> int:
        with lock:
            return value

    assert is_elementwise(
        anonymous(pl.col("a").map_elements(guarded, return_dtype=pl.Int64))
    )


def test_nothing_is_left_behind_where_functions_were_left_out() -> None:
    to_tree(pl.col("a").map_elements(lambda x: x, return_dtype=pl.Int64))

    assert ("cloudpickle" in sys.modules) <= bool(
        importlib.util.find_spec("cloudpickle")
    )


def test_a_function_of_bytes_beside_a_division_is_no_operator() -> None:
    size = pl.col("raw").bin.size() / 4
    rows = pl.DataFrame({"raw": [b"12345678", b""]})

    found = rows.select(steady(size, rows.schema))

    assert found["raw"].to_list() == [2.0, 0.0]
