"""Returns freed memory to the operating system."""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Returns freed memory to the operating system. Does nothing where the C library is not glibc.

    A loaded model occupies many blocks of all sizes, which glibc's allocator keeps after they are freed. The blocks of
    the next model do not fit exactly into the gaps, so without this call the process would grow at every swap.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
