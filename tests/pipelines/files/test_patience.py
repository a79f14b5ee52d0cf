"""A store that does not answer is asked again for a while, by a fake clock."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from longtake.pipelines.files.patience import Patience, may_pass


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


class EndpointConnectionError(Exception):
    """As botocore calls it."""


class ClientError(Exception):
    def __init__(self, status):
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.fixture
def away():
    """A call that fails for some seconds of its clock, and that clock."""
    clock = Clock()

    def make(seconds, error):
        def call():
            if clock.seconds < seconds:
                raise error
            return "answer"

        return Patience("s3://videos/out", 180, clock.now, clock.sleep).call(call)

    make.clock = clock
    return make


@pytest.mark.report("B5")
@pytest.mark.parametrize("error", [EndpointConnectionError(), OSError(errno.EIO, "503"), ClientError(503)])
@pytest.mark.parametrize("seconds", [0, 10, 150])
def test_an_outage_is_waited_for(away, caplog, seconds, error):
    assert away(seconds, error) == "answer"
    assert away.clock.seconds < seconds + 15
    assert ("s3://videos/out does not answer" in caplog.text) == (seconds > 0)
    assert ("answers again after" in caplog.text) == (seconds > 0)


@pytest.mark.report("B5")
def test_a_longer_one_ends_in_one_line_with_the_folder(away):
    with pytest.raises(OSError, match=r"s3://videos/out did not answer for 3 min \(.*503\)"):
        away(1e9, OSError(errno.EIO, "503"))
    assert 160 < away.clock.seconds <= 180


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), FileExistsError(), ClientError(403)])
def test_an_answer_is_not_asked_for_again(away, error):
    with pytest.raises(type(error)):
        away(1e9, error)
    assert away.clock.seconds == 0


def test_what_may_pass():
    assert may_pass(ClientError(429)) and may_pass(ConnectionResetError()) and may_pass(TimeoutError())
    assert not may_pass(ValueError("x")) and not may_pass(OSError(errno.ENOSPC, "full"))


def test_an_outage_is_two_lines_however_many_threads_wait(caplog):
    asked, back = threading.Barrier(8), threading.Event()
    patience = Patience("s3://videos/out", sleep=lambda _: back.wait(20))
    first = threading.local()

    def call():
        if not getattr(first, "over", False):
            first.over = True
            asked.wait(20)
            raise ConnectionResetError
        return "answer"

    def wait_until_all_wait():
        while patience._num_waiting < 8:
            pass
        back.set()

    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(patience.call, call) for _ in range(8)]
        pool.submit(wait_until_all_wait).result(20)
        assert [answer.result(20) for answer in answers] == ["answer"] * 8
    assert ["does not answer" in line for line in caplog.messages] == [True, False]
    assert "answers again" in caplog.messages[1]


def test_without_patience_the_error_counts_at_once(caplog):
    with pytest.raises(ConnectionResetError):
        Patience("s3://videos/out", 0).call(lambda: (_ for _ in ()).throw(ConnectionResetError()))
    assert caplog.messages == []
