"""The thread that loads a version and ends it."""

import gc
import threading
import weakref

import pytest

from serving.server.models.keeper import Keeper
from serving.server.models.model import Model
from tests.support.waiting import wait_until


def test_one_thread_does_one_thing_after_the_other_and_then_ends():
    keeper = Keeper("kept")
    done = []
    futures = [keeper.submit(lambda n=n: (done.append(n), threading.current_thread().name)[1]) for n in range(5)]
    keeper.end()
    assert [future.result(10) for future in futures] == ["kept"] * 5
    assert done == list(range(5))
    keeper.join()
    assert not keeper.is_alive


def test_what_goes_wrong_is_told_and_the_thread_goes_on():
    keeper = Keeper("kept")
    with pytest.raises(ZeroDivisionError):
        keeper.submit(lambda: 1 / 0).result(10)
    assert keeper.submit(lambda: 2).result(10) == 2
    keeper.end()


def test_a_thread_that_waits_holds_nothing():
    class Large:
        pass

    keeper = Keeper("kept")
    large = keeper.submit(Large).result(10)
    held = weakref.ref(large)
    del large
    wait_until(lambda: (gc.collect(), held() is None)[1])
    assert keeper.is_alive
    keeper.end()


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
