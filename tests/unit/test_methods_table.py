"""The table of method families is what the families declare."""

import subprocess
import sys

import pytest

from app_server.methods import FAMILIES, load_family, load_registry
from app_server.rpc.registry import collect


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_methods_that_the_table_says(family: str) -> None:
    assert sorted(collect([load_family(family)])) == sorted(FAMILIES[family])


def test_no_method_is_in_two_families() -> None:
    names = [name for methods in FAMILIES.values() for name in methods]
    assert sorted(names) == sorted(load_registry())


def test_a_family_is_imported_with_the_first_of_its_methods() -> None:
    code = (
        "import sys\n"
        "from app_server.methods import load_registry\n"
        "def loaded():\n"
        "    return sorted(n.rpartition('.')[2] for n in sys.modules if n.startswith('app_server.methods.'))\n"
        "registry = load_registry()\n"
        "before = loaded()\n"
        "registry['fs/copy']\n"
        "print(before, loaded(), 'fs/remove' in registry, 'fs/other' in registry)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] ['fs', 'services'] True False\n"
