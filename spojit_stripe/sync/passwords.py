"""Passwords in the address of a database, as libpq reads them: `user:password@` and `?password=`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

__all__ = ["passwords_in"]

# After a colon comes a port too; what an @ later on may follow is then a path.
_OF_USER: Final = re.compile(r"//[^/?#@:]*:(?!\d*[/,])([^@]+)@")
_OF_OPTION: Final = re.compile(r"(?:^|[?&\s])((?:[A-Za-z]|%[0-9A-Fa-f]{2})+)\s*=\s*([^&#\s]+)")
_OPTIONS: Final = frozenset({"password", "sslpassword"})


def passwords_in(text: str) -> set[str]:
    """The passwords in an address, also in one with templates, as they are written there."""
    of_options = {value for name, value in _OF_OPTION.findall(text) if unquote(name).lower() in _OPTIONS}
    return {*_OF_USER.findall(text), *of_options}
