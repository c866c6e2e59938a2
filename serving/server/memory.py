"""Memory that is free, but that the allocator keeps for later. It is glibc that is meant; elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # in glibc's malloc.h


def limit_arenas() -> None:
    """Lets threads share the allocator's arenas, one for each processor; to be called before there are threads.

    glibc makes eight times as many. What a version leaves free in one arena does not serve the threads that load and
    warm up the next one in others, so that each swap cost some MiB more.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def give_back() -> None:
    """Returns freed memory to the operating system.

    A model is loaded and unloaded in many pieces of all sizes. Those freed stay with the process otherwise, and the
    next model's do not fit into their places exactly: swap after swap, the process would grow.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
