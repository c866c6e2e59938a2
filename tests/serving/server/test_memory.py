import ctypes
import os
import subprocess
import sys
import textwrap

import psutil
import pytest

from serving.server import memory

PIECES, SIZE = 1_000, 64 * 1024  # too small to be mapped one by one


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_goes_back_to_the_operating_system():
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    pieces = [ctypes.c_void_p(library.malloc(SIZE)) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    last = pieces.pop()  # still in use above all that is freed
    for piece in pieces:
        library.free(piece)
    before = psutil.Process().memory_info().rss
    memory.give_back()
    library.free(last)
    assert before - psutil.Process().memory_info().rss > 0.8 * PIECES * SIZE


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc")
def test_threads_share_as_many_arenas_as_there_are_processors():
    program = textwrap.dedent("""
        import ctypes, sys, threading
        from serving.server import memory

        if sys.argv[1] == "limited":
            memory.limit_arenas()
        library = ctypes.CDLL(None)
        library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        allocated = threading.Barrier(41)
        def allocate():
            library.malloc(50_000)
            allocated.wait()
        for _ in range(40):
            threading.Thread(target=allocate, daemon=True).start()
        allocated.wait()
        library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
        library.fflush(None)
    """)

    def arenas(how):
        told = subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout
        return told.count("<heap nr=")

    assert arenas("limited") <= max(2, os.cpu_count()) < arenas("as they are")
