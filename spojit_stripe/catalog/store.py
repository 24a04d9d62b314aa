"""Where descriptors lie, and the catalog that reads them when they are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from spojit_stripe.catalog.tool import Tool, tool_from
from spojit_stripe.errors import ConfigurationError, InputError
from spojit_stripe.redact import printable, redact_text
from spojit_stripe.words import nearest

__all__ = ["Catalog", "schemas_dir"]

# Beside the descriptors lie schemas of other files and indexes of a connector's operations.
_NO_TOOL = (".schema", "-operations")
_TOOL_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def schemas_dir(package: Path | None = None) -> Path:
    """The folder `schemas/`: inside the installed `package`, or beside it in a checkout.

    Raises `ConfigurationError` where there is neither.
    """
    home = package or Path(__file__).parents[1]
    for folder in (home / "schemas", home.parent / "schemas"):
        if (folder / "descriptor.schema.json").is_file():
            return folder
    raise ConfigurationError(f"no schemas/ in {home} or beside it; reinstall the package")


class Catalog:
    """The tools of a folder. Files are read when their tool is first asked for, and kept."""

    def __init__(self, directory: Path, names: tuple[str, ...]) -> None:
        self.directory = directory
        self.names = names
        self._tools: dict[str, Tool] = {}

    @classmethod
    def load(cls, directory: Path | None = None) -> Catalog:
        """The catalog of `directory`, or of the package's own `schemas/`.

        Raises `ConfigurationError` where the folder cannot be read or holds no descriptor.
        """
        folder = directory or schemas_dir()
        try:
            stems = sorted(file.stem for file in folder.iterdir() if file.suffix == ".json")
        except OSError as error:
            raise ConfigurationError(f"{folder}: {error.strerror}; name a folder of descriptors") from None
        names = tuple(stem for stem in stems if _TOOL_NAME.fullmatch(stem) and not stem.endswith(_NO_TOOL))
        if not names:
            raise ConfigurationError(f"{folder}: holds no tool descriptor")
        return cls(folder, names)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Every tool, sorted by name."""
        return tuple(self)

    def tool(self, name: str) -> Tool:
        """The tool of that name.

        Raises `InputError` for an unknown one, naming the nearest and all of them;
        `ConfigurationError` where its file is broken.
        """
        found = self._tools.get(name)
        if found is None:
            if name not in self.names:
                raise InputError(self._unknown(name))
            found = self._tools[name] = self._read(name)
        return found

    def _unknown(self, name: str) -> str:
        guess = nearest(name.replace("_", "-"), self.names)
        the_tools = f"he tools are {', '.join(self.names)}"
        end = f"{guess} T{the_tools}" if guess else f"; t{the_tools}"
        return f"unknown tool {printable(redact_text(name[:60]))!r}{end}"

    def _read(self, name: str) -> Tool:
        file = self.directory / f"{name}.json"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file}: cannot be read ({error}); reinstall the package") from None
        except ValueError as error:
            raise ConfigurationError(f"{file}: no JSON ({error}); restore it or reinstall the package") from None
        return tool_from(document, name=name, file=str(file))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Tool]:
        return (self.tool(name) for name in self.names)
