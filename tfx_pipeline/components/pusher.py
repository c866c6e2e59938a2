"""A Pusher that makes a model version appear in the serving directory in one step, complete or not at all."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components import Pusher
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from tfx_pipeline.terminal import progress
from trainer.files import atomic_directory

_PARTIAL_VERSION = re.compile(r"\.\d+\.\w+")  # no server takes such a name for a version


class AtomicPusherExecutor(pusher_executor.Executor):
    """Pushes to a local directory by `push`, to a remote one as TFX does.

    Object stores cannot rename a directory. TFX copies saved_model.pb last, and servers do not load a version without
    it.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base_directory = destination.filesystem.base_directory
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            progress.summary("not pushed: the model is not blessed")
            return
        if "://" in base_directory:
            super().Do(input_dict, output_dict, exec_properties)
            return
        model = self.GetModelPath(input_dict)
        shutil.copytree(model, pushed_model.uri, dirs_exist_ok=True)
        version = push(model, base_directory)  # last, because a server may load the version at once
        self._MarkPushed(pushed_model, pushed_destination=str(version), pushed_version=version.name)
        progress.summary(f"version {version.name}")


def push(model: str | os.PathLike[str], base_directory: str | os.PathLike[str]) -> Path:
    """Copies a SavedModel to a new version directory, which servers see when it is complete.

    The version is the present time in seconds, or the newest version plus 1 if that is larger.

    Args:
      model: directory of the SavedModel.
      base_directory: directory that holds the versions; made if absent.

    Returns:
      `base_directory`/<version>.

    Raises:
      TowersError: the version cannot be written.
    """
    base = Path(base_directory)
    base.mkdir(parents=True, exist_ok=True)
    names = [path.name for path in base.iterdir()]
    for name in filter(_PARTIAL_VERSION.fullmatch, names):  # left by a push that was killed
        shutil.rmtree(base / name, ignore_errors=True)
    version = max([int(time.time()), *(int(name) + 1 for name in names if name.isdigit())])
    with atomic_directory(base / str(version)) as partial:
        shutil.copytree(model, partial, dirs_exist_ok=True)
    return base / str(version)


class AtomicPusher(Pusher):
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AtomicPusherExecutor)
