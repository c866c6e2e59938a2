import ctypes

import psutil
import pytest

from serving.server.runtime import memory

PIECES, SIZE = 1_000, 64 * 1024  # too small to be mapped one by one


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_is_returned_to_the_operating_system():
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    pieces = [ctypes.c_void_p(library.malloc(SIZE)) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    last = pieces.pop()  # still in use above all that is freed
    for piece in pieces:
        library.free(piece)
    before = psutil.Process().memory_info().rss
    memory.return_free_memory()
    library.free(last)
    assert before - psutil.Process().memory_info().rss > 0.8 * PIECES * SIZE
