"""Memory that is free, but that the allocator keeps for later. It is glibc that is meant; elsewhere nothing is done."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Returns freed memory to the operating system.

    A model is loaded and unloaded in many pieces of all sizes. Those freed stay with the process otherwise, and the
    next model's do not fit into their places exactly: swap after swap, the process would grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
