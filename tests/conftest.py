import os
import signal

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell that is not interactive: the tests and their children would never see the
    # interrupts that they send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
