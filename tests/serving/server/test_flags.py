import pytest

from serving.server.flags import model_server_arguments, parse_flags
from serving.server.main import main
from serving.wire.errors import ServerUsageError


def test_defaults_are_those_of_tensorflow_model_server():
    flags = parse_flags(["--model_base_path", "/models/m"])
    assert (flags.port, flags.model_name, flags.file_system_poll_wait_seconds) == (8500, "default", 1)
    assert (flags.enable_model_warmup, flags.max_num_load_retries) == (True, 5)
    assert flags.load_retry_interval_micros == 60_000_000
    assert flags.model_config_file is None
    assert (flags.model_config_file_poll_wait_seconds, flags.allow_version_labels_for_unavailable_models) == (0, False)


@pytest.mark.parametrize(("text", "expected"), [("=false", False), ("=true", True), ("", True), ("=0", False)])
def test_booleans_as_tensorflow_writes_them(text, expected):
    assert parse_flags(["--model_base_path=/m", f"--enable_model_warmup{text}"]).enable_model_warmup is expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--model_config_file"),
        (["--model_config_file=/m", "--model_config_file_poll_wait_seconds=-1"], "from 0"),
        (["--model_base_path=/m", "--port=70000"], "Received: '70000'"),
        (["--model_base_path=/m", "--port=x"], "Received: 'x'"),
        (["--model_base_path=/m", "--grpc_max_threads=0"], "from 1"),
        (["--model_base_path=/m", "--file_system_poll_wait_seconds=-1"], "from 0"),
        (["--model_base_path=/m", "--max_waiting_calls=-1"], "from 0"),
        (["--model_base_path=/m", "--enable_model_warmup=maybe"], "true or false"),
        (["--model_base_path=/m", "--model_name="], "--model_name"),
        (["--model_base_path=/m", "--workers=0"], "from 1 to 256"),
        (
            ["--model_base_path=/m", "--workers=2", "--engine=tensorflow_model_server"],
            "`--workers` is for the embedded",
        ),
        (["--model_base_path=/m", "--unknown_flag=1"], "--unknown_flag"),
        (["--model_base_path=/m", "--engine=other"], "embedded"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv, message, capsys):
    with pytest.raises(ServerUsageError):
        parse_flags(argv)
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_help_has_an_example(capsys):
    assert main(["--help"]) == 0
    assert "example: towers serve" in capsys.readouterr().out


def test_engine_that_is_not_installed(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--model_base_path=/m", "--engine=tensorflow_model_server"]) == 1
    assert "not on the PATH" in capsys.readouterr().err


def test_engine_is_run_with_the_flags_it_knows(monkeypatch, tmp_path):
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    called = []

    def execute(path, arguments):
        called.append((path, arguments))
        raise SystemExit(0)  # the process would be another one now

    monkeypatch.setattr("os.execv", execute)
    argv = ["--model_base_path", "/m", "--enable_grpc_reflection", "--port=8501"]
    argv += ["--engine", "tensorflow_model_server", "--host=0.0.0.0"]
    assert main(argv) == 0
    assert called == [(str(program), [str(program), "--model_base_path=/m", "--port=8501"])]


def test_a_config_file_goes_to_the_other_engine_as_it_is():
    argv = ["--model_config_file=models.config", "--port=8501"]
    assert model_server_arguments(argv) == argv


def test_the_other_engine_reads_every_flag_however_it_is_written():
    argv = [
        "--model_base_path",
        "/m",
        "--model_name",
        "shop",
        "--port",
        "8600",
        "--enable_batching",
        "--rest_api_port=8501",
    ]
    assert model_server_arguments([*argv, "--enable_model_warmup", "0", "--workers", "1"]) == [
        "--model_base_path=/m",
        "--model_name=shop",
        "--port=8600",
        "--enable_batching=true",
        "--rest_api_port=8501",
        "--enable_model_warmup=false",
    ]


def test_base_path_is_made_absolute_for_the_other_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["--model_base_path=models/m", "--enable_model_warmup=false"]
    arguments = model_server_arguments(argv)
    assert arguments == [f"--model_base_path={tmp_path / 'models/m'}", "--enable_model_warmup=false"]


def test_a_similar_flag_is_suggested_for_a_misspelt_one() -> None:
    with pytest.raises(
        ServerUsageError, match=r"unrecognized arguments: --modelbasepath=x \(did you mean --model_base_path\?\)"
    ):
        parse_flags(["--model_base_path=x", "--modelbasepath=x"])
    with pytest.raises(ServerUsageError, match=r"unrecognized arguments: x \(see --help\)"):
        parse_flags(["--model_base_path=x", "x"])
