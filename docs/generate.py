"""Fills the reference pages from the code, so that they cannot differ from it. An mkdocs hook."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tfx_pipeline.cli import COMMANDS, main  # noqa: E402
from trainer.config import Config  # noqa: E402

_OWN_HELP = ("test",)  # --help of these commands is another program's


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the markers of a page; called by mkdocs for each page."""
    for marker, make in (("<!-- configuration -->", configuration), ("<!-- commands -->", commands)):
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def configuration() -> str:
    """Every key of a configuration: one table for each section, in the order of the models."""
    return "\n\n".join(_section("", Config))


def _section(prefix: str, model: type[BaseModel]) -> list[str]:
    title = f"`{prefix.rstrip('.')}`" if prefix else "Top level"
    level = "##" if prefix.count(".") <= 1 else "###"
    summary = (model.__doc__ or "").strip().split("\n")[0] if model.__doc__ and prefix else ""
    rows, inner = [], []
    for name, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        if nested is not None:
            inner += _section(f"{prefix}{name}.", nested)
            if not prefix and _is_plain(field):
                continue
        elif not field.description:
            raise ValueError(f"{prefix}{name}: the configuration's field should have a description. Received: none")
        meaning = field.description or (f"see [`{prefix}{name}`](#{(prefix + name).replace('.', '')})")
        kind = "section" if nested is not None else _type_name(field.annotation)
        rows.append(f"| `{name}` | {kind} | {_default(field)} | {_cell(meaning)} |")
    table = ["| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)] if rows else []
    return [f"{level} {title}", *([summary] if summary else []), *table, *inner]


def _is_plain(field: FieldInfo) -> bool:
    return not field.description


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """The section behind an annotation such as `UsersConfig | None`; None for other types."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel) and not _is_value(annotation):
            return part
    return None


def _is_value(annotation: Any) -> bool:
    """Whether models are values of a mapping, whose keys the user names."""
    return typing.get_origin(annotation) is dict


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(part) for part in arguments if part is not type(None))
    if origin in (list, tuple):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "{" + ", ".join(f"`{name}`" for name in annotation.model_fields) + "}"
    return str(annotation)


def _default(field: FieldInfo) -> str:
    if field.default is not PydanticUndefined:
        value = field.default
    elif field.default_factory is not None:
        value = field.default_factory()  # type: ignore[call-arg]
    else:
        return "required"
    if value is None or isinstance(value, BaseModel):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands() -> str:
    """`--help` of every command."""
    parts = []
    for name, summary in COMMANDS.items():
        parts.append(f"## `towers {name}`")
        if name in _OWN_HELP:
            parts.append(f"{summary[0].upper()}{summary[1:]}; `--quick`: quick tests only. Other options go to pytest.")
        else:
            parts.append(f"```text\n{_help(name)}\n```")
    return "\n\n".join(parts)


def _help(command: str) -> str:
    output = io.StringIO()
    with _terminal_width(100), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return output.getvalue().rstrip()


@contextlib.contextmanager
def _terminal_width(width: int) -> Iterator[None]:
    """argparse wraps at the terminal's width, which it reads from COLUMNS."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
