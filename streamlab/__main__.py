"""`python -m streamlab` is the `streamlab` command."""

from __future__ import annotations

from streamlab.cli import main

main()
