"""What leaves the repository: a wheel of our three packages and their data alone, and no file that names a machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath

import pytest

from tests.architecture.source import PACKAGES, ROOT

BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE")
DATA_SUFFIXES = (".md", ".sql", ".typed")

REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|proxy\.golang\.org|index\.crates\.io"
    r"|https?://\S+/simple\b|(?:PIP|UV)_(?:EXTRA_|DEFAULT_)?INDEX(?:_URL)?\s*=|--(?:extra-|default-)?index-url"
)
"""Hosts of package registries, and settings that would name one."""
HOMES = re.compile(
    r"(?<![\w./-])(?:/home/|/Users/|[A-Z]:\\Users\\)(?!(?:you|me|user|alice|bob|[a-z])\b)\w+|(?<![\w./<>-])/root/[\w.]"
)
"""A home of a real machine; the made-up owners are for examples."""


def repository_files() -> list[str]:
    """Every file that is, or would be, tracked. Skips the test where there is no git."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone: without them the tracked files are not known")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return sorted(name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file())


def lines_with(pattern: re.Pattern[str], names: list[str]) -> list[str]:
    """Every line of these files in which the pattern stands; files that are not text are left out."""
    found = []
    for name in names:
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{name}:{at} {hit[0]}" for at, line in enumerate(text.splitlines(), 1) if (hit := pattern.search(line))
        ]
    return found


def unmet_build_requirement() -> str | None:
    """Why a wheel cannot be built here without a network; None when it can."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = next(line for line in pyproject["build-system"]["requires"] if line.startswith("setuptools"))
    minimum = int(re.findall(r">=\s*(\d+)", wanted)[0])
    try:
        installed = version("setuptools")
    except PackageNotFoundError:
        return f"needs {wanted} in the environment, which has none"
    if int(installed.split(".")[0]) < minimum:
        return f"needs {wanted} in the environment, which has {installed}"
    missing = [name for name in BUILD_FILES if not (ROOT / name).is_file()]
    return f"needs {', '.join(missing)}" if missing else None


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """File names in a wheel that was built from a copy, so that the repository stays clean."""
    if reason := unmet_build_requirement():
        pytest.skip(reason)
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, copy)
    for package in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    hook = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"  # PEP 517, without pip
    built = subprocess.run(
        [sys.executable, "-c", hook, str(target)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_our_three_packages_and_nothing_else(wheel_names: list[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel_names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))

    assert tops == {*PACKAGES, info}
    assert info.startswith("imagegen_app_server-")


def test_the_wheel_holds_every_module_and_data_file(wheel_names: list[str]) -> None:
    expected = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.suffix in (".py", *DATA_SUFFIXES) and "__pycache__" not in file.parts
    }
    assert {name for name in wheel_names if ".dist-info/" not in name} == expected


def test_the_package_list_is_explicit() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert pyproject["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{package}*" for package in PACKAGES]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}

    assert sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRIES, repository_files()) == []


def test_no_file_names_a_home_of_a_machine() -> None:
    assert lines_with(HOMES, repository_files()) == []


def test_no_file_names_the_place_of_this_clone() -> None:
    if len(ROOT.parts) < 3:
        pytest.skip("the clone lies too near the root for its path to mean anything")
    here = re.compile(rf"(?<![\w.-]){re.escape(str(ROOT))}(?![\w-])")

    assert lines_with(here, repository_files()) == []


@pytest.mark.parametrize(
    ("pattern", "text", "faulty"),
    [
        (REGISTRIES, "url = https://pypi" + ".org/simple", True),
        (REGISTRIES, "PIP_INDEX" + "_URL=http://mirror", True),
        (REGISTRIES, "pip install imagegen-app-server", False),
        (HOMES, "/ho" + "me/builder/x", True),
        (HOMES, "C:\\Us" + "ers\\builder", True),
        (HOMES, "/ro" + "ot/.cache", True),
        (HOMES, "/home/you/pictures", False),
        (HOMES, "https://example.com/home/page", False),
        (HOMES, "<thread>/root/turn", False),
    ],
)
def test_a_name_of_a_machine_is_found(pattern: re.Pattern[str], text: str, faulty: bool) -> None:
    assert bool(pattern.search(text)) == faulty
