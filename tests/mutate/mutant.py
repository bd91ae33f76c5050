"""A rule broken on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """One change to one file, and the tests that must fail for it.

    Attributes:
        name: in a word or two, unique.
        file: below `streamlab/`.
        text: as it stands there, exactly once.
        instead: what is put in its place.
        why: what goes wrong for whom.
        tests: files or single tests, the likeliest first.
    """

    name: str
    file: str
    text: str
    instead: str
    why: str
    tests: tuple[str, ...]

    def applied(self, root: Path = ROOT) -> str:
        """The file's text, in the tree below `root`, with the change in it.

        Raises:
            LookupError: the text is not there, or not once: the code has moved on, and the
                mutant must follow.
        """
        code = (root / "streamlab" / self.file).read_text("utf-8")
        count = code.count(self.text)
        if count != 1:
            raise LookupError(f"{self.name}: {self.file} has its text {count} times")
        return code.replace(self.text, self.instead)
