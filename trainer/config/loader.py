"""Reads a configuration file, with overrides; what does not fit is said with its place."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel

from trainer.config import Config
from trainer.errors import UsageError

# How pydantic names the alternatives of a union inside a place.
_ALTERNATIVE = re.compile(r"constrained-|literal\[")


def load(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a configuration file.

    Args:
      path: the YAML file.
      overrides: `"section.key=value"` strings (the command line's `--set`); the value is read as YAML.

    Raises:
      UsageError: the file is missing, is not YAML, or does not fit; every problem is named with its place.
    """
    return _validated(document(path, overrides or []), str(path))


def document(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """A configuration file as it is written, with overrides and without defaults.

    Args: as for `load`.

    Raises:
      UsageError: the file is missing or is not YAML, or an override is none.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot read the configuration ({error.strerror}). Give --config a YAML file."
        ) from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: should hold keys and values (name, data, ...). Received: {type(document).__name__}")
    for override in overrides:
        _override(document, override)
    return document


def overridden(config: Config, overrides: list[str]) -> Config:
    """A configuration with some values replaced; `overrides` are as for `load`.

    Raises:
      UsageError: they do not fit.
    """
    document = json.loads(config.to_json())
    for override in overrides:
        _override(document, override)
    return _validated(document, "--set")


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """A configuration with other values: `"section.key"` -> value.

    Raises:
      UsageError: they do not fit.
    """
    document = json.loads(config.to_json())
    for key, value in values.items():
        put(document, key, value)
    return _validated(document, ", ".join(values))


def _validated(document: dict[str, Any], place: str) -> Config:
    try:
        return Config.model_validate(document)
    except pydantic.ValidationError as error:
        raise UsageError(f"{place}: {_explain(error)}") from None


def _override(document: dict, override: str) -> None:
    key, separator, value = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise UsageError(f"--set should be section.key=value. Received: {override!r}")
    put(document, key.strip(), yaml.safe_load(value))


def put(document: dict[str, Any], key: str, value: Any) -> None:
    """Sets `section.key` of a configuration as it is written.

    Raises:
      UsageError: what should be a section is none.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = document.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"`{key}`: `{section}` is not a section")
        document = inner
    document[last] = value


def _explain(error: pydantic.ValidationError) -> str:
    problems = []
    unfit: dict[str, tuple[list[str], Any]] = {}  # place -> what each alternative wants of it, what it is
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if not _ALTERNATIVE.match(str(part)))
        said = problem["msg"].removeprefix("Value error, ")
        if not place:  # of sections that do not fit each other: it names them, and the whole is too much to show
            problems.append(said)
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known)}"
            problems.append(f"`{place}` is not a known key; {hint}")
        elif problem["type"] == "missing":
            problems.append(f"`{place}` is missing")
        else:
            unfit.setdefault(place, ([], problem["input"]))[0].append(said)
    for place, (wanted, received) in unfit.items():
        problems.append(f"`{place}`: {', or: '.join(wanted)}. Received: {str(received)[:80]!r}")
    return "; ".join(problems)


def _known_keys(place: tuple) -> list[str]:
    model: Any = Config
    for part in place:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
