"""What `import mindeye` offers: every name is there, explained, and loaded on first use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

import mindeye
from mindeye.config.flags import doc_of

NAMES = [name for name in mindeye.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_takes(name: str) -> None:
    thing = getattr(mindeye, name)
    if name.isupper():
        assert isinstance(thing, Mapping)
        assert len(thing) > 0
    else:
        doc = doc_of(thing)
        assert doc.short_description
        assert doc.params, f"{name} does not say what it takes"
    assert name in dir(mindeye)


def test_importing_the_package_imports_nothing_large() -> None:
    code = "import sys, mindeye; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mindeye.nonsense  # noqa: B018
