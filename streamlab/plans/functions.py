"""The list of polars functions that look at their own row only.

What is not on it is refused, so a function that polars adds tomorrow is refused until somebody has
put it here; `tests/plans` runs every entry over random cuts of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl

from streamlab.plans.codec import Value
from streamlab.plans.tree import field, from_tree, kind


class Call(NamedTuple):
    """A function as it stands in an expression.

    Attributes:
        options: its fixed arguments, as polars writes them.
        inputs: its arguments that are expressions.
        type_of: the type of an input, or None if it can't be told yet.
    """

    options: Value
    inputs: list[Value]
    type_of: Callable[[Value], pl.DataType | None]


class Refusal(NamedTuple):
    """Why something is not row-wise.

    Attributes:
        why: the rest of a sentence that begins with the part refused.
        instead: what to write, or "".
        windows: whether a window would take it.
    """

    why: str
    instead: str = ""
    windows: bool = True


OTHER_ROWS = Refusal("looks at another row, and the next batch would not see it")
ALL_ROWS = Refusal("is made of all rows, and more will come")
OTHER_LENGTH = Refusal("changes the number of rows")
BY_CHANCE = Refusal("differs from run to run", windows=False)
UNKNOWN = Refusal("is not known to look at its own row only")
WHOLE_BATCH = Refusal(
    "is handed a whole batch, and how rows fall into batches is chance",
    "Row by row: map_elements(…).",
)
GUESSED = Refusal(
    "guesses the format from the data, and could guess another for the next batch",
    'Write the format: .str.to_datetime("%Y-%m-%d %H:%M:%S").',
)
UNTYPED = Refusal(
    "guesses its type from the data, and could guess another for the next batch",
    "Name it: map_elements(fn, return_dtype=pl.Float64).",
)
CATEGORICAL = Refusal(
    "is Categorical, whose codes depend on what came before",
    "Leave it text, or cast to pl.Enum([…]).",
)
SERIES = Refusal("has a value for each row of one batch only")
UNORDERED = Refusal(
    "leaves the order to chance", "Write list.unique(maintain_order=True)."
)
COLUMN_SET = Refusal("looks through the whole of another column")


def is_literal(node: Value) -> bool:
    """Whether the node is a literal."""
    return kind(node)[0] == "Literal"


def literal_series(node: Value) -> pl.Series | None:
    """The series of a literal that is one."""
    name, body = kind(node)
    if name == "Literal" and kind(body)[0] == "Series":
        return pl.select(from_tree(node)).to_series()
    return None


def _formatted(call: Call) -> Refusal | None:
    return GUESSED if field(field(call.options, 1), "format") is None else None


def _is_in(call: Call) -> Refusal | None:
    among = call.inputs[1]
    series = literal_series(among)
    if series is not None:
        return SERIES if series.dtype.is_nested() and len(series) != 1 else None
    if is_literal(among):
        return None
    found = call.type_of(among)
    # A plain column means "anywhere in that column", a list column "in this row's list".
    return None if isinstance(found, (pl.List, pl.Array)) else COLUMN_SET


def _replaced_by_literals(call: Call) -> Refusal | None:
    return None if all(map(is_literal, call.inputs[1:3])) else COLUMN_SET


def _literal_patterns(call: Call) -> Refusal | None:
    return None if all(map(is_literal, call.inputs[1:])) else COLUMN_SET


def _named_fields(call: Call) -> Refusal | None:
    return None if isinstance(call.options, list) else UNKNOWN


def _given_breaks(call: Call) -> Refusal | None:
    method, how = kind(field(call.options, "method"))
    given = method == "Intervals" and kind(field(how, "spec"))[0] == "Breaks"
    return None if given else Refusal("takes its breaks from the data")


CONDITIONS: Mapping[str, Callable[[Call], Refusal | None]] = {
    "Bin": _given_breaks,
    "Boolean.IsIn": _is_in,
    "ListExpr.ToStruct": _named_fields,
    "Replace": _replaced_by_literals,
    "ReplaceStrict": _replaced_by_literals,
    "StringExpr.ContainsAny": _literal_patterns,
    "StringExpr.ExtractMany": _literal_patterns,
    "StringExpr.FindMany": _literal_patterns,
    "StringExpr.ReplaceMany": _literal_patterns,
    "StringExpr.Strptime": _formatted,
}
"""Functions on the list that are row-wise only under a condition."""


def names(text: str) -> frozenset[str]:
    """Words as a set."""
    return frozenset(text.split())


def _under(prefix: str, text: str) -> frozenset[str]:
    return frozenset(f"{prefix}.{name}" for name in text.split())


ROW_WISE = (
    names(
        """
        Abs AsStruct Atan2 Bin Ceil Clip Coalesce Cut Exp FillNull Floor Hash Log Log1p
        MaxHorizontal MeanHorizontal MinHorizontal Negate Pow Reinterpret RepeatBy
        Replace ReplaceStrict Round RoundSF Sign SumHorizontal ToPhysical Truncate
        """
    )
    | _under(
        "ArrayExpr",
        """
        ArgMax ArgMin Concat Contains CountMatches Get Join Length Max Mean Median
        Min Shift Sort Std Sum ToList ToStruct Var
        """,
    )
    | _under(
        "BinaryExpr",
        """
        Base64Decode Base64Encode Contains EndsWith Get Head HexDecode HexEncode
        Reinterpret Size Slice StartsWith Tail
        """,
    )
    | _under(
        "Bitwise",
        "CountOnes CountZeros LeadingOnes LeadingZeros TrailingOnes TrailingZeros",
    )
    | _under(
        "Boolean",
        """
        AllHorizontal AnyHorizontal IsBetween IsClose IsFinite IsIn IsInfinite IsNan
        IsNotNan IsNotNull IsNull Not
        """,
    )
    | _under("Business", "AddBusinessDay BusinessDayCount IsBusinessDay")
    | _under(
        "ListExpr",
        """
        ArgMax ArgMin Concat Contains CountMatches DropNulls Gather GatherEvery
        Get Join Length Max Mean Median Min SetOperation Shift Slice Sort Std Sum
        ToStruct Var
        """,
    )
    | _under("Range", "DateRanges DatetimeRanges IntRanges LinearSpaces TimeRanges")
    | _under(
        "StringExpr",
        """
        Base64Decode Base64Encode ConcatHorizontal Contains ContainsAny CountMatches
        EndsWith EscapeRegex Extract ExtractAll ExtractGroups ExtractMany Find
        FindMany Format Head HexDecode HexEncode JsonDecode JsonPathMatch LenBytes
        LenChars Lowercase Normalize PadEnd PadStart Replace ReplaceMany Reverse
        Slice Split SplitExact SplitN StartsWith StripChars StripCharsEnd
        StripCharsStart StripPrefix StripSuffix Strptime Tail Titlecase ToDecimal
        ToInteger Uppercase ZFill
        """,
    )
    | _under(
        "StructExpr",
        """
        FieldByName JsonEncode MapFieldNames PrefixFields RenameFields SelectFields
        SuffixFields
        """,
    )
    | _under(
        "TemporalExpr",
        """
        BaseUtcOffset CastTimeUnit Century Combine ConvertTimeZone DSTOffset Date
        DatetimeFunction Day DaysInMonth Duration Hour IsLeapYear IsoYear Microsecond
        Millennium Millisecond Minute Month MonthEnd MonthStart Nanosecond OffsetBy
        OrdinalDay Quarter Replace ReplaceTimeZone Round Second Time TimeStamp
        ToString TotalDays TotalHours TotalMicroseconds TotalMilliseconds
        TotalMinutes TotalNanoseconds TotalSeconds Truncate Week WeekDay Year
        """,
    )
    | _under(
        "Trigonometry",
        """
        ArcCos ArcCosh ArcSin ArcSinh ArcTan ArcTanh Cos Cosh Cot Degrees Radians Sin
        Sinh Tan Tanh
        """,
    )
)
"""Functions that are row-wise, some under a condition."""

INSIDE_A_LIST = names(
    """
    ArgMax ArgMin Boolean.All Boolean.Any CumCount CumMax CumMin CumSum Diff DropNans
    DropNulls NullCount Quantile Rank Reverse Shift Unique
    """
)
"""Functions that look at other elements: fine within one row's list (`list.eval`)."""
