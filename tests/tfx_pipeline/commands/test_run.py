from __future__ import annotations

from tfx_pipeline.commands.run import command_line


def test_the_command_is_shown_without_secrets() -> None:
    arguments = ["run", "--config", "my shop.yaml", "--s3_secret_access_key", "hush", "--azure_connection_string=hush"]
    shown = (
        "towers run --config 'my shop.yaml' --s3_secret_access_key '***' '--azure_connection_string=***' --set a.b=9"
    )
    assert command_line([*arguments, "--set", "a.b=9"]) == shown
    assert command_line(["run", "--s3_access_key_id"]) == "towers run --s3_access_key_id"


def test_an_argument_that_is_not_utf_8_can_be_written() -> None:
    assert command_line(["run", b"\xc9\xcc".decode("utf-8", "surrogateescape")]).encode()
