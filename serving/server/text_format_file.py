"""Reads configuration files: protocol buffers in text format, like those of tensorflow_model_server."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from serving.wire.errors import ServerError

Config = TypeVar("Config", bound=Message)


def read_message(path: Path, message: type[Config], *, secret: bool = False) -> Config:
    """The message in the file.

    Args:
        secret: the file contains keys: error messages give the position of a mistake and do not quote the text.

    Raises:
        ServerError: the file cannot be read or parsed. The message is one line with file, line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ServerError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ServerError(f"{path} is not UTF-8 text, at byte {error.start}") from None
    try:
        return text_format.Parse(text, message())
    except (text_format.ParseError, RecursionError) as error:
        raise ServerError(f"{path} is not a {message.DESCRIPTOR.name}: {_position(error, secret)}") from None


def _position(error: Exception, secret: bool) -> str:
    if not isinstance(error, text_format.ParseError):
        return "it is nested too deeply"
    line, column = error.GetLine(), error.GetColumn()
    problem = " ".join(str(error).split())
    if line is None:
        return "a field cannot be parsed" if secret else problem
    position = f"line {line}, column {column}"
    return position if secret else f"{position}: {problem.partition(' : ')[2]}"
