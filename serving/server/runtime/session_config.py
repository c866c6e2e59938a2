"""The configuration of TensorFlow's sessions: threads, and how a graph is optimised before its first run."""

from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2


def session_config(
    intra_op_parallelism_threads: int = 0, inter_op_parallelism_threads: int = 0
) -> config_pb2.ConfigProto:
    """The configuration of a model's session.

    Args:
        intra_op_parallelism_threads: threads of one op; 0 leaves the number to TensorFlow.
        inter_op_parallelism_threads: ops run at the same time; 0 leaves the number to TensorFlow.
    """
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_parallelism_threads,
        inter_op_parallelism_threads=inter_op_parallelism_threads,
    )
    _prepare_quickly(config.graph_options.rewrite_options)
    return config


def _prepare_quickly(options: rewriter_config_pb2.RewriterConfig) -> None:
    """Turns off graph optimisers that make later calls no faster, but take two fifths of the time of first calls, and
    thus of the warm-up (`benchmarks/serving_preparation.py`).

    Turned off are:
    - the second round of all optimisers;
    - the TFG optimiser, which only translates graphs to another form and back;
    - the memory optimiser, which is for training.

    Two optimisers take more time, but stay on. Without constant folding, fewer kernels are fused, and scores are
    rounded differently from those of the same SavedModel in another program. The layout optimiser is needed for models
    with convolutions on a GPU.
    """
    options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    options.disable_tfg_optimizer = True
    options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
