"""TFX's Pusher, with a version that appears in the serving directory whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import time
from typing import Any

from tfx import types
from tfx.components import Pusher
from tfx.components.pusher import executor as pusher_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from tfx_pipeline.terminal import progress


class AtomicPusherExecutor(pusher_executor.Executor):
    """Copies beside the target and renames. Remote file systems, which cannot rename a directory, get TFX's order of
    copying (saved_model.pb last), which a server takes as the sign that a version is complete.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base = destination.filesystem.base_directory
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            progress.summary("not pushed: the model is not blessed")
            return
        if "://" in base:
            super().Do(input_dict, output_dict, exec_properties)
            return
        model = self.GetModelPath(input_dict)
        shutil.copytree(model, pushed.uri, dirs_exist_ok=True)
        target = push(model, base)  # last: what is served is the one thing that a failed step cannot take back
        self._MarkPushed(pushed, pushed_destination=target, pushed_version=os.path.basename(target))
        progress.summary(f"version {os.path.basename(target)}")


def push(model: str, base: str) -> str:
    """Copies a SavedModel to `base`/<version>, the version being the time in seconds, or one more than the newest."""
    os.makedirs(base, exist_ok=True)
    for left_behind in glob.glob(os.path.join(glob.escape(base), ".*.partial")):  # by a push that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    present = [int(name) for name in os.listdir(base) if name.isdigit()]
    version = max([int(time.time()), *(number + 1 for number in present)])
    aside = os.path.join(base, f".{version}.partial")  # not a number: no server takes it for a version
    try:
        shutil.copytree(model, aside)
        os.rename(aside, os.path.join(base, str(version)))
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return os.path.join(base, str(version))


class AtomicPusher(Pusher):
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AtomicPusherExecutor)
