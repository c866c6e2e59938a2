"""One of several server processes behind a port: `parent` starts it with the server's own flags."""

import os
import sys
import threading
from collections.abc import Sequence

from serving.server.flags import parse_flags
from serving.server.main import serve
from serving.server.workers.parent import FAILURE
from serving.wire.errors import ServerError


def main(argv: Sequence[str]) -> int:
    """Runs the server until it is asked to stop, or the parent is gone. Returns the exit code."""
    stop = threading.Event()
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    try:
        serve(parse_flags(argv), stop)
    except ServerError as error:
        print(f"{FAILURE}{' '.join(str(error).split())}", flush=True)  # told by the parent
        return error.exit_code
    return 0


def _stop_with_parent(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
