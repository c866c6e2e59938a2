"""Deployment files agree with each other and with the servers: configurations, manifests, images and flags."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf import text_format
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import Distribution
from setuptools.command.build_py import build_py
from tensorflow_serving.config import model_server_config_pb2

from serving.client.prediction_client import PredictionClient
from serving.server import flag_parser, flags, main
from serving.server.batching.parameters import read_batching_parameters
from serving.server.grpc import health
from serving.server.models.model_config import model_configs
from serving.wire.protos import flag_files_pb2  # with the originals' fields, which tensorflow-serving-api leaves out
from serving.wire.protos.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "serving" / "deploy"
CONFIGS = {
    "models.config": model_server_config_pb2.ModelServerConfig,
    "models-canary.config": model_server_config_pb2.ModelServerConfig,
    "batching.config": flag_files_pb2.BatchingParameters,
    "batching-gpu.config": flag_files_pb2.BatchingParameters,
    "monitoring.config": flag_files_pb2.MonitoringConfig,
}
STOCK = {"tensorflow/serving:2.16.1", "tensorflow/serving:2.16.1-gpu"}
OWN = {"interest-towers/serving:0.1.0": "embedded", "interest-towers/tf-serving-scann:2.16.1": "tf-serving-scann"}
EMBEDDED = "interest-towers/serving:0.1.0"
GRACE_MARGIN = 5  # seconds, for the process's own end


@cache
def documents(overlay: str) -> list[dict[str, Any]]:
    """The manifests of an overlay, as `kubectl apply -k` sends them."""
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / "overlays" / overlay)]
    build = subprocess.run(command, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    return list(yaml.safe_load_all(build.stdout))


def of_kind(overlay: str, kind: str) -> dict[str, Any]:
    (document,) = (document for document in documents(overlay) if document["kind"] == kind)
    return document


needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="the program `kubectl`, which builds the overlays, is not there"
)
OVERLAYS = [pytest.param(name, marks=needs_kubectl) for name in ("embedded", "stock", "stock-gpu")]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]


def pod(overlay: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod's specification, and its one container's."""
    spec = of_kind(overlay, "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


PLACES = [*(f"compose {name}" for name in SERVICES), *OVERLAYS]


def deployed(place: str) -> tuple[str, list[str]]:
    """Image and flags of a compose service or an overlay."""
    if place.startswith("compose "):
        service = SERVICES[place.removeprefix("compose ")]
        return service["image"], service["command"]
    _, container = pod(place)
    return container["image"], container["args"]


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_the_messages_that_servers_read(name: str) -> None:
    message = text_format.Parse((DEPLOY / "configs" / name).read_text(encoding="utf-8"), CONFIGS[name]())
    assert message.ByteSize()


def test_there_is_no_config_that_is_not_tested() -> None:
    assert {path.name for path in (DEPLOY / "configs").iterdir()} == set(CONFIGS)


@pytest.mark.parametrize("name", ["models.config", "models-canary.config"])
def test_the_embedded_server_takes_the_model_configs(name: str) -> None:
    message = text_format.Parse((DEPLOY / "configs" / name).read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = model_configs(message).values()
    assert (model.name, str(model.base_path)) == ("recommender", "/models/recommender")
    if "canary" in name:
        assert set(model.labels) == {"stable", "canary"}
        assert set(model.labels.values()) == model.policy.specific
    else:
        assert model.policy.choose([3, 12, 7]) == {12}


@pytest.mark.parametrize("name", ["batching.config", "batching-gpu.config"])
def test_the_embedded_server_takes_the_batching_configs(name: str) -> None:
    assert read_batching_parameters(DEPLOY / "configs" / name).max_batch_size >= 256


@pytest.mark.parametrize("place", PLACES)
def test_flags_are_ones_the_server_has(place: str) -> None:
    image, arguments = deployed(place)
    parsed = flags.parse_flags(arguments)
    own = [f"--{name}" for name in flag_parser.OWN_FLAGS]
    given = {argument.split("=")[0] for argument in arguments}
    if image == EMBEDDED:
        assert parsed.host == "0.0.0.0"  # in a container, 127.0.0.1 is reached by nobody
        assert parsed.engine == "embedded"
    else:  # every flag of the embedded server that is not its own is one that tensorflow_model_server has
        assert not given & set(own)
    assert (parsed.port, parsed.rest_api_port) == (8500, 8501)
    assert parsed.allow_version_labels_for_unavailable_models, "else models-canary.config cannot be there at the start"
    for path in (parsed.model_config_file, parsed.batching_parameters_file, parsed.monitoring_config_file):
        assert path.parent == Path("/configs")
        assert (DEPLOY / "configs" / path.name).exists()
    assert ("gpu" in image) == ("gpu" in parsed.batching_parameters_file.name)


@pytest.mark.parametrize("place", PLACES)
def test_images_are_public_or_built_here(place: str) -> None:
    image, _ = deployed(place)
    assert image in STOCK or (DEPLOY / OWN[image] / "Dockerfile").exists()


def test_stock_images_are_of_the_tensorflow_that_exports() -> None:
    line = metadata.version("tensorflow").rsplit(".", 1)[0]
    every = "\n".join(path.read_text(encoding="utf-8") for path in DEPLOY.rglob("*") if path.is_file())
    assert set(re.findall(r"tensorflow/serving:(\d+\.\d+)", every)) == {line}
    assert f"ARG TF_SERVING={metadata.version('tensorflow-serving-api')}" in every


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_and_names_agree(overlay: str) -> None:
    _, container = pod(overlay)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    deployment, service, budget = (of_kind(overlay, kind) for kind in ("Deployment", "Service", "PodDisruptionBudget"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in pod(overlay)[0]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    assert {(port["port"], port["targetPort"]) for port in service["spec"]["ports"]} == {(8500, "grpc"), (8501, "rest")}
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    monitoring = text_format.Parse(
        (DEPLOY / "configs" / "monitoring.config").read_text(), flag_files_pb2.MonitoringConfig()
    )
    assert annotations["prometheus.io/path"] == monitoring.prometheus_config.path
    assert annotations["prometheus.io/port"] == str(ports["rest"])


@needs_kubectl
def test_overlays_can_be_applied_to_one_cluster() -> None:
    overlays = ("embedded", "stock", "stock-gpu")
    names = [(document["kind"], document["metadata"]["name"]) for name in overlays for document in documents(name)]
    assert len(names) == len(set(names))
    assert [name for kind, name in names if kind == "Deployment"] == [
        "recommender",
        "recommender-stock",
        "recommender-gpu",
    ]


def test_every_overlay_is_tested() -> None:
    folders = {path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir()}
    assert folders == {"embedded", "stock", "stock-gpu"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_for_what_the_server_answers(overlay: str) -> None:
    _, container = pod(overlay)
    names = {port["name"] for port in container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]
        if container["image"] == EMBEDDED:
            assert probe["grpc"]["port"] == 8500
            assert probe["grpc"]["service"] in health.SERVICES
            assert flags.parse_flags(container["args"]).enable_grpc_healthcheck_service
        else:
            assert probe["httpGet"]["port"] in names
            assert probe["httpGet"]["path"] == "/v1/models/recommender"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_may_take_as_long_to_end_as_its_server(overlay: str) -> None:
    spec, container = pod(overlay)
    (_, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
    grace = main.GRACE_SECONDS if container["image"] == EMBEDDED else 0  # the stock server ends at once
    assert spec["terminationGracePeriodSeconds"] >= int(seconds) + grace + GRACE_MARGIN
    liveness = container["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > grace, "a stopping server must not be killed"


def test_compose_gives_the_embedded_server_its_time_to_stop() -> None:
    seconds = int(SERVICES["embedded"]["stop_grace_period"].removesuffix("s"))
    assert seconds >= main.GRACE_SECONDS + GRACE_MARGIN


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_without_privileges_and_cannot_write(overlay: str) -> None:
    spec, container = pod(overlay)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in container["volumeMounts"]:
        assert mount.get("readOnly") or "emptyDir" in volumes.pop(mount["name"])
    (claim,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "models.yaml").read_text(encoding="utf-8"))
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_compose_services_are_without_privileges_and_cannot_write(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["profiles"], "one server at a time: they share the ports"


@needs_kubectl
@pytest.mark.parametrize("overlay", ["stock", "embedded"])
def test_the_autoscaler_scales_the_deployment(overlay: str) -> None:
    deployment, scaler = of_kind(overlay, "Deployment"), of_kind(overlay, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"], "each apply would undo what the autoscaler has done"
    assert "cpu" in pod(overlay)[1]["resources"]["requests"], "utilisation is a share of what is requested"


@needs_kubectl
def test_the_gpu_overlay_has_no_autoscaler() -> None:
    kinds = {document["kind"] for document in documents("stock-gpu")}
    assert kinds == {"Deployment", "Service", "PodDisruptionBudget"}
    assert of_kind("stock-gpu", "Deployment")["spec"]["replicas"] >= 2
    assert pod("stock-gpu")[1]["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_image_of_the_embedded_server_has_what_the_lock_has() -> None:
    pinned = re.findall(r"^(\S+)==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", _requirements(), re.MULTILINE)
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name, version, hashes in pinned:
        assert f"\n{name}=={version} \\\n{hashes.rstrip()}" in locked, name
    assert len(pinned) == _requirements().count("==")


def test_the_image_of_the_embedded_server_has_all_that_it_needs() -> None:
    wanted = _imported_by_the_server() | {"tensorflow-text", "scann", "tf-keras"}  # ops and layers, loaded by name
    waiting, closure = [canonicalize_name(name) for name in wanted], set()
    while waiting:
        name = waiting.pop()
        if name not in closure:
            closure.add(name)
            needed = map(Requirement, metadata.requires(name) or [])
            waiting += [canonicalize_name(n.name) for n in needed if not n.marker or n.marker.evaluate({"extra": ""})]
    assert {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", _requirements(), re.MULTILINE)} == closure


def _imported_by_the_server() -> set[str]:
    """The distributions that `serving/server/` and its share of `serving/` import."""
    files = [*(ROOT / "serving" / "server").rglob("*.py"), *(ROOT / "serving" / "wire").rglob("*.py")]
    modules: set[str] = set()
    for tree in (ast.parse(file.read_text(encoding="utf-8")) for file in files):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
            elif isinstance(node, ast.Import):
                modules |= {name.name for name in node.names}
    roots = {module.split(".")[0] for module in modules if not module.startswith("google.protobuf")}
    distributions = metadata.packages_distributions()
    return {"protobuf"} | {
        distributions[root][0] for root in roots if root in distributions and root not in ("serving", "trainer")
    }


def _requirements() -> str:
    return (DEPLOY / "embedded" / "requirements.txt").read_text(encoding="utf-8")


def test_dockerfiles_copy_what_is_there_and_run_without_root() -> None:
    for path in DEPLOY.glob("*/Dockerfile"):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
            assert all((ROOT / source).exists() for source in line.split()), line
    assert "NOT BUILT HERE" in (DEPLOY / "tf-serving-scann" / "Dockerfile").read_text(encoding="utf-8")


@needs_kubectl
@pytest.mark.parametrize("models_config", ["models.config", "models-canary.config"])
def test_the_embedded_server_starts_as_deployed_and_answers_the_probes(
    publish: Callable[..., Path], start: Callable, tmp_path: Path, models_config: str
) -> None:
    """With the manifest's flags and configuration; the ports, the address and the models' place are the test's."""
    publish(1, model="recommender")
    base_path = publish(2, model="recommender")
    for name in CONFIGS:
        text = (DEPLOY / "configs" / name).read_text(encoding="utf-8").replace("/models/recommender", str(base_path))
        (tmp_path / name).write_text(text.replace("1700000000", "1").replace("1700086400", "2"), encoding="utf-8")
    _, container = pod("embedded")
    rest = free_port()
    replaced: dict[str, object] = {"--host": "127.0.0.1", "--port": 0, "--rest_api_port": rest}
    arguments = []
    for name, _, value in (argument.partition("=") for argument in container["args"]):
        path = tmp_path / (models_config if name == "--model_config_file" else Path(value).name)
        arguments.append(f"{name}={replaced.get(name, path if value.startswith('/configs/') else value)}")
    server = start(None, *arguments)
    with grpc.insecure_channel(server.address) as channel:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            request = HealthCheckRequest(service=container[kind]["grpc"]["service"])
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
            )
            assert check(request, timeout=10).status == HealthCheckResponse.SERVING
    with urllib.request.urlopen(f"http://127.0.0.1:{rest}/v1/models/recommender", timeout=10) as answer:
        assert '"AVAILABLE"' in answer.read().decode()  # what compose's health checks look for
    with urllib.request.urlopen(f"http://127.0.0.1:{rest}/monitoring/prometheus/metrics", timeout=10) as answer:
        assert answer.status == 200
    with PredictionClient(server.address, "recommender", timeout=20) as client:
        versions = {status.version for status in client.status() if status.state == "AVAILABLE"}
    assert versions == ({1, 2} if "canary" in models_config else {2})
    if "canary" in models_config:
        for label, number in (("stable", 1.0), ("canary", 2.0)):
            url = f"http://127.0.0.1:{rest}/v1/models/recommender/labels/{label}:predict"
            with urllib.request.urlopen(url, b'{"instances": [0.0]}', timeout=20) as answer:
                assert json.load(answer)["predictions"] == [number]


def test_the_files_are_part_of_the_package() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    (patterns,) = re.findall(r'"serving": (\[.*?\])', setup)
    command = build_py(Distribution({"packages": ["serving"], "package_data": {"serving": yaml.safe_load(patterns)}}))
    command.finalize_options()
    command.manifest_files = {}  # of a source distribution: not needed for what package_data itself names
    shipped = {Path(name).resolve() for name in command.find_data_files("serving", str(ROOT / "serving"))}
    assert {path for path in DEPLOY.rglob("*") if path.is_file()} <= shipped
