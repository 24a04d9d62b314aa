"""Each module says what it offers, and offers what it says."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types

import pytest

import spojit_stripe

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(spojit_stripe.__path__, "spojit_stripe.")
    if not found.name.endswith("__main__")
)


def exported(module: types.ModuleType) -> list[str]:
    return list(getattr(module, "__all__", []))


def defined(module: types.ModuleType) -> set[str]:
    """The public classes and functions that the module itself defines."""
    found = {
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    }
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    missing = [member for member in exported(module) if not hasattr(module, member)]
    assert not missing
    assert len(set(exported(module))) == len(exported(module))


@pytest.mark.parametrize("name", MODULES)
def test_a_package_exports_in_order(name: str) -> None:
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        names = exported(module)
        assert names == sorted(names, key=lambda member: (not member.isupper(), not member[0].isupper(), member))


_FLOORS = [
    "jsonvalue",
    "errors",
    "values",
    "money",
    "redact",
    "words",
    "yamlfile",
    "connection",
    "connector",
    "policy",
    "session",
    "reading",
    "settle",
    "previews",
    "writing",
    "direct",
    "host",
    "records",
    "steps",
    "data",
    "calling",
    "agent",
    "node",
    "engine",
    "sync",
    "testing",
]
CORE = [name for name in MODULES if name.split(".")[1] in _FLOORS]


@pytest.mark.parametrize("name", CORE)
def test_what_a_module_of_the_core_does_not_export_is_private(name: str) -> None:
    module = importlib.import_module(name)
    strangers = {member for member in defined(module) if member not in exported(module)}
    assert strangers <= ALLOWED.get(name, set())


# Rules are named in the output of the conformance kit, so their names are plain.
ALLOWED = {
    "spojit_stripe.testing.conformance": {
        rule.__name__ for rule in importlib.import_module("spojit_stripe.testing.conformance")._RULES
    },
    # For the ledger's transaction.
    "spojit_stripe.records.approvals": {"claim_planned", "may_run_planned", "tie_to"},
}


def test_every_public_name_of_the_package_is_there() -> None:
    for name in spojit_stripe.__all__:
        assert getattr(spojit_stripe, name) is not None
    assert list(spojit_stripe.__all__) == sorted(spojit_stripe.__all__)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = spojit_stripe.no_such_name  # type: ignore[attr-defined]


def test_what_type_checkers_see_of_the_package_is_what_it_gives() -> None:
    tree = ast.parse(inspect.getsource(spojit_stripe))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == set(spojit_stripe.__all__) - {"__version__"}
