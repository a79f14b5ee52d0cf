"""Signals end a command with the code of the signal, whatever a library does with them."""

import importlib
import os
import signal
import sys
import time

import pytest

from longtake.pipelines.terminal.signals import (
    STOPS,
    Received,
    Stopped,
    catch_signals,
    delayed_signals,
    noted_signals,
    own_signals,
)


@pytest.fixture(autouse=True)
def _restored():
    before = {number: signal.getsignal(number) for number in STOPS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background job SIGINT is ignored
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_is_an_exception_with_its_exit_code(number):
    received = catch_signals()
    with pytest.raises(Stopped) as stop:
        os.kill(os.getpid(), number)
    assert received.exit_code(stop.value) == 128 + number


@pytest.mark.report("B9")
def test_the_code_is_that_of_the_signal_when_a_library_has_replaced_the_exception():
    received = Received()
    received.number = signal.SIGTERM
    assert received.exit_code(KeyboardInterrupt()) == 143
    assert Received().exit_code(KeyboardInterrupt()) == 130


@pytest.mark.report("B9")
def test_a_library_cannot_take_the_signals_while_it_starts():
    """Ray sets a handler that exits with 15 in `ray.init`."""
    catch_signals()
    with own_signals():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(15))
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.report("B9")
def test_a_job_that_is_stopped_before_its_work_says_so_whatever_ray_makes_of_the_signal():
    with pytest.raises(Stopped, match="no video was started") as stop, noted_signals("no video was started"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray's `check_signals` does
    assert stop.value.exit_code == 143


def test_the_first_signal_is_noted_while_there_is_work_to_wind_down_and_the_second_ends_it():
    catch_signals()
    with pytest.raises(Stopped), noted_signals("nothing yet") as received:
        received.can_drain = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert received.number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", STOPS)
def test_a_delayed_signal_comes_when_the_block_has_ended(number):
    catch_signals()
    done = False
    with pytest.raises(Stopped) as stop, delayed_signals():
        os.kill(os.getpid(), number)
        done = True
    assert done and stop.value.exit_code == 128 + number


@pytest.mark.report("B9")
def test_a_signal_that_comes_during_an_import_ends_the_command_after_it(tmp_path, monkeypatch):
    """An exception in the middle of the import of torch aborts the process, with code 134."""
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nsum(range(1000))\nIS_WHOLE = True\n"
    (tmp_path / "slow_library.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    received = catch_signals()
    with pytest.raises(Stopped) as stop:
        importlib.import_module("slow_library")
        time.sleep(5)
    assert received.exit_code(stop.value) == 143
    assert sys.modules.pop("slow_library").IS_WHOLE
