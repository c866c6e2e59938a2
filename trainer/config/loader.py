"""Reads configuration files, applies overrides, and reports every error of a configuration in one line."""

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

# If a value may have several types, pydantic adds the type to the location of an error: those parts match this.
_ALTERNATIVE = re.compile(r"constrained-|literal\[")


def load(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a configuration file.

    Args:
      path: the YAML file.
      overrides: `"section.key=value"` strings (the command line's `--set`); the value is read as YAML.

    Raises:
      UsageError: the file is missing, is not YAML, or is not a valid configuration; names every invalid key.
    """
    return _validated(document(path, overrides or []), str(path))


def document(path: str | Path, overrides: list[str]) -> dict[str, Any]:
    """The contents of a configuration file with overrides: without defaults, and not validated.

    Args: as for `load`.

    Raises:
      UsageError: the file is missing or is not YAML, or an override is malformed.
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
    """A copy of a configuration with some values replaced; `overrides` are as for `load`.

    Raises:
      UsageError: an override is malformed, or the result is not a valid configuration.
    """
    document = json.loads(config.to_json())
    for override in overrides:
        _override(document, override)
    return _validated(document, "--set")


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """A copy of a configuration with some values replaced: `"section.key"` -> value.

    Raises:
      UsageError: the result is not a valid configuration.
    """
    document = json.loads(config.to_json())
    for key, value in values.items():
        put(document, key, value)
    return _validated(document, ", ".join(values))


def put(document: dict[str, Any], key: str, value: Any) -> None:
    """Sets `section.key` in the contents of a configuration file; missing sections are added.

    Raises:
      UsageError: a section of `key` has a value that is not a section.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = document.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"`{key}`: `{section}` should be a section. Received: {str(inner)[:80]!r}")
        document = inner
    document[last] = value


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise UsageError(f"--set should be section.key=value. Received: {override!r}")
    put(document, key.strip(), yaml.safe_load(value))


def _validated(document: dict[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(document)
    except pydantic.ValidationError as error:
        raise UsageError(f"{source}: {_explain(error)}") from None


def _explain(error: pydantic.ValidationError) -> str:
    """All problems of an invalid configuration in one line."""
    problems = []
    # Where a value may have several types, pydantic reports a problem for each: key -> (problems, value).
    wrong_values: dict[str, tuple[list[str], Any]] = {}
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if not _ALTERNATIVE.match(str(part)))
        message = problem["msg"].removeprefix("Value error, ")
        if not key:  # sections contradict each other: the message names them, and the value is the whole configuration
            problems.append(message)
        elif problem["type"] == "extra_forbidden":
            problems.append(f"`{key}` is not a known key; {_suggestion(problem['loc'])}")
        elif problem["type"] == "missing":
            problems.append(f"`{key}` is missing")
        else:
            wrong_values.setdefault(key, ([], problem["input"]))[0].append(message)
    for key, (messages, value) in wrong_values.items():
        problems.append(f"`{key}`: {', or: '.join(messages)}. Received: {str(value)[:80]!r}")
    return "; ".join(problems)


def _suggestion(location: tuple[int | str, ...]) -> str:
    """The known key that is most similar to the unknown one at this location, or all known keys."""
    known = _known_keys(location[:-1])
    similar = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean `{similar[0]}`?" if similar else f"known keys: {', '.join(known)}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at this location."""
    model: Any = Config
    for part in location:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
