# SPDX-License-Identifier: Apache-2.0
"""The deployment files are what their readers take, and agree."""

import pathlib
import re

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from kbert.serving import export

yaml = pytest.importorskip("yaml")

FOLDER = pathlib.Path(__file__).parents[2] / "export" / "tf_serving"

# Messages that tensorflow-serving-api lacks: field, number, type.
# session_bundle_config.proto and monitoring_config.proto of TensorFlow Serving.
BATCHING = [
    *(
        (name, number, "Int64Value")
        for name, number in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 2),
            ("max_enqueued_batches", 3),
            ("num_batch_threads", 4),
        )
    ),
    ("thread_pool_name", 5, "StringValue"),
    ("pad_variable_length_inputs", 7, "bool"),
    ("enable_large_batch_splitting", 8, "BoolValue"),
]


def _message(name, fields):
    """A message class of these fields."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package="test", syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    made = file.message_type.add(name=name)
    for field, number, kind in fields:
        one = made.field.add(name=field, number=number, label=1)
        if kind == "bool":
            one.type = one.TYPE_BOOL
        elif kind == "string":
            one.type = one.TYPE_STRING
        else:
            one.type = one.TYPE_MESSAGE
            one.type_name = f".google.protobuf.{kind}"
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"test.{name}")
    )


def _arguments():
    """The server's flags, in Docker's file and in Kubernetes's."""
    compose = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())
    (service,) = compose["services"].values()
    deployment, *_ = _kubernetes()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return service, container


def _kubernetes():
    text = (FOLDER / "kubernetes.yaml").read_text()
    return list(yaml.safe_load_all(text))


def test_both_start_the_same_server():
    service, container = _arguments()
    assert service["command"] == container["args"]
    assert service["image"] == container["image"]
    environment = {x["name"]: x["value"] for x in container["env"]}
    assert service["environment"] == environment
    flags = dict(x.removeprefix("--").split("=") for x in service["command"])
    assert flags["enable_batching"] == "true"
    assert flags["enable_per_model_batching_parameters"] == "true"
    for name, value in flags.items():
        if name.endswith("_file"):
            folder, _, file = value.rpartition("/")
            assert folder == "/config" and (FOLDER / file).is_file()
    mounts = [x["mountPath"] for x in container["volumeMounts"]]
    assert mounts == ["/models/kbert", "/config"]
    assert [x.split(":")[-2] for x in service["volumes"]] == mounts


def test_kubernetes():
    deployment, service, scaler = _kubernetes()
    kinds = ["Deployment", "Service", "HorizontalPodAutoscaler"]
    assert [x["kind"] for x in (deployment, service, scaler)] == kinds
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    status = container["readinessProbe"]["httpGet"]
    assert (status["path"], status["port"]) == ("/v1/models/kbert", "rest")
    ports = {x["name"]: x["containerPort"] for x in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    assert {x["targetPort"] for x in service["spec"]["ports"]} == set(ports)
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert labels == pod["metadata"]["labels"] == service["spec"]["selector"]
    assert container["resources"]["limits"]["memory"]
    target = scaler["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["resource"]["name"] in container["resources"]["requests"]


def test_the_models():
    text = (FOLDER / "models.config").read_text()
    config = text_format.Parse(
        text, model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("kbert", "/models/kbert")
    assert model.model_version_policy.latest.num_versions == 2
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_and_monitoring():
    parameters = _message("BatchingParameters", BATCHING)
    shared = text_format.Parse(
        (FOLDER / "batching.config").read_text(), parameters()
    )
    assert shared.num_batch_threads.value >= 1
    own = text_format.Parse(export._BATCHING, parameters())
    assert own.pad_variable_length_inputs and own.max_batch_size.value == 64
    # The server takes only the threads from the shared file.
    fields = {field.name for field, _ in shared.ListFields()}
    assert fields == {"num_batch_threads", "thread_pool_name"}
    assert not fields & {field.name for field, _ in own.ListFields()}
    text = (FOLDER / "monitoring.config").read_text()
    prometheus = _message(
        "PrometheusConfig", [("enable", 1, "bool"), ("path", 2, "string")]
    )
    inner = re.search(r"prometheus_config \{(.*)\}", text, re.DOTALL)
    config = text_format.Parse(inner.group(1), prometheus())
    assert config.enable
    pod = _kubernetes()[0]["spec"]["template"]["metadata"]
    assert pod["annotations"]["prometheus.io/path"] == config.path


def test_a_wrong_field_is_found():
    with pytest.raises(text_format.ParseError, match="no field named"):
        text_format.Parse("max_batch: 1", _message("Wrong", BATCHING[:1])())
