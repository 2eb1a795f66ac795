"""The gate of tenants: every method of the server is decided, and those about the host are refused."""

from __future__ import annotations

from pathlib import Path

from app_server.methods import FAMILIES
from app_server.tenants.gate import FOR_TENANTS, FOR_THE_HOST, refusal
from app_server.tenants.ground import Ground

METHODS = {name for names in FAMILIES.values() for name in names}


def test_every_method_is_decided_once() -> None:
    assert FOR_TENANTS | FOR_THE_HOST == METHODS
    assert set() == FOR_TENANTS & FOR_THE_HOST


def test_what_nobody_decided_is_refused_like_what_is_the_hosts() -> None:
    assert {method for method in METHODS if refusal(method) is None} == FOR_TENANTS
    answers = [refusal("fs/readFile"), refusal("something/new")]
    assert [why and (why.wire_code, why.data) for why in answers] == [(-32600, {"code": "notForTenants"})] * 2


def test_no_method_that_names_the_disk_or_a_process_is_for_tenants() -> None:
    prefixes = ("fs/", "command/", "fuzzyFileSearch", "config/value", "config/batch", "account/log", "hooks/")
    assert [method for method in FOR_TENANTS if method.startswith(prefixes)] == []


def test_a_folder_that_a_client_names_is_kept_as_it_is() -> None:
    ground = Ground(folder=Path("/srv/tenants/ann"))
    assert [str(ground.named(cwd)) for cwd in (None, "/far/away/site", "site")] == [
        "/srv/tenants/ann",
        "/far/away/site",
        "/srv/tenants/ann/site",
    ]
