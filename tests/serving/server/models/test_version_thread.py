"""The thread that loads and unloads a version."""

import gc
import threading
import weakref

import pytest

from serving.server.models.model import Model
from serving.server.models.version_thread import VersionThread
from tests.support.waiting import wait_until


def test_functions_run_in_order_in_one_thread_which_then_ends():
    thread = VersionThread("a-version")
    done = []
    futures = [thread.submit(lambda n=n: (done.append(n), threading.current_thread().name)[1]) for n in range(5)]
    thread.end()
    assert [future.result(10) for future in futures] == ["a-version"] * 5
    assert done == list(range(5))
    thread.join()
    assert not thread.is_alive


def test_an_error_goes_to_the_caller_and_the_thread_goes_on():
    thread = VersionThread("a-version")
    with pytest.raises(ZeroDivisionError):
        thread.submit(lambda: 1 / 0).result(10)
    assert thread.submit(lambda: 2).result(10) == 2
    thread.end()


def test_a_waiting_thread_keeps_no_object_alive():
    class Large:
        pass

    thread = VersionThread("a-version")
    large = thread.submit(Large).result(10)
    reference = weakref.ref(large)
    del large
    wait_until(lambda: (gc.collect(), reference() is None)[1])
    assert thread.is_alive
    thread.end()


class Fake:
    """Notes in which thread it is closed."""

    def __init__(self, version, threads):
        self.version, self.users, self._threads = version, 0, threads
        threads[version] = [threading.current_thread()]

    def close(self):
        self._threads[self.version].append(threading.current_thread())
        if self.version == 2:
            raise RuntimeError("defect")


def test_a_version_has_a_thread_of_its_own_that_loads_and_unloads_it(tmp_path, caplog):
    threads: dict[int, list[threading.Thread]] = {}
    model = Model("m", tmp_path, lambda name, version, directory: Fake(version, threads))
    for version in (1, 2, 3):
        directory = tmp_path / str(version)
        directory.mkdir()
        (directory / "saved_model.pb").touch()
        model.poll()
        assert model.available_versions == [version]
    model.close()
    for loaded, unloaded in threads.values():
        assert loaded == unloaded
    assert len({loaded for loaded, _ in threads.values()}) == 3
    assert "unloading m version 2 failed" in caplog.text
    assert not any(thread.name.startswith("m-") for thread in threading.enumerate())
