"""How TensorFlow's sessions prepare a graph and run it."""

from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2


def session_config(
    intra_op_parallelism_threads: int = 0, inter_op_parallelism_threads: int = 0
) -> config_pb2.ConfigProto:
    """The configuration of a model's session.

    Args:
        intra_op_parallelism_threads: that one operation may use; 0 leaves it to TensorFlow.
        inter_op_parallelism_threads: that operations beside each other may use; 0 leaves it to TensorFlow.
    """
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_parallelism_threads,
        inter_op_parallelism_threads=inter_op_parallelism_threads,
    )
    _prepare_quickly(config.graph_options.rewrite_options)
    return config


def _prepare_quickly(options: rewriter_config_pb2.RewriterConfig) -> None:
    """Leaves out what takes first calls, hence warm-up, two fifths of their time and gains later calls nothing
    (`benchmarks/serving_preparation.py`).

    These are a second round of all optimisers, one that is being rewritten in another form and does nothing yet but
    translate graphs there and back, and one that saves training's memory. Two others would save more and stay: without
    constants that are computed beforehand fewer kernels are fused, so that the same request is not rounded as where the
    SavedModel is loaded otherwise; and a model with convolutions needs the optimiser of layouts on a GPU.
    """
    options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    options.disable_tfg_optimizer = True
    options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
