"""One of several server processes behind a port. The supervisor starts it with the server's own flags."""

import os
import sys
import threading
from collections.abc import Sequence

from serving.server.flags import parse_flags
from serving.server.main import serve
from serving.server.output_lines import FAILURE
from serving.wire.errors import ServerError


def main(argv: Sequence[str]) -> int:
    """Runs the server until it is asked to stop or the supervisor ends. Returns the exit code."""
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        serve(parse_flags(argv), stop)
    except ServerError as error:
        print(f"{FAILURE}{' '.join(str(error).split())}", flush=True)  # for the supervisor
        return error.exit_code
    return 0


def _stop_at_end_of_input(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
