"""What keeps Ray from starting is found in advance."""

import socket

import pytest

from longtake.pipelines.runners import ray_start
from longtake.pipelines.runners.ray_start import (
    MAX_FOLDER_BYTES,
    check_answers,
    temp_folder,
    why_no_answer,
    why_no_start,
)
from longtake.pipelines.terminal.exit_codes import Refused

LONG = "x" * MAX_FOLDER_BYTES


@pytest.mark.report("C19")
def test_a_tmpdir_too_long_for_sockets_gets_a_short_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_start, "SHORT", tmp_path / "short")
    assert temp_folder({}, str(tmp_path / LONG)) == tmp_path / "short"
    assert not (tmp_path / LONG).exists()


@pytest.mark.report("C19")
def test_a_ray_tmpdir_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"RAY_TMPDIR=.*xxx: too long"):
        temp_folder({"RAY_TMPDIR": str(tmp_path / LONG)})


@pytest.mark.report("C19")
@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_cannot_be_written_is_refused(variable, monkeypatch):
    env = {"RAY_TMPDIR": "/proc/none"} if variable == "RAY_TMPDIR" else {}
    with pytest.raises(Refused, match=rf"/proc/none/ray: Ray cannot write there .*{variable}"):
        temp_folder(env, "/proc/none")


@pytest.mark.report("C19", "B8")
def test_a_full_disk_is_refused_with_its_path(monkeypatch):
    monkeypatch.setattr(ray_start, "MIN_FREE_BYTES", 1 << 60)
    monkeypatch.setattr(ray_start, "SHORT", ray_start.SHORT)
    with pytest.raises(Refused, match=r"/tmp/ray: the disk is full .*RAY_TMPDIR"):
        temp_folder({}, "/tmp")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The current node timed out during startup.", "raise ray.start_timeout_s=300"),
        ("[Errno 28] No space left on device", "free some space"),
        ("Port 6379 is in use", "one of Ray's ports"),
        ("something else", "see /tmp/ray/session_latest/logs"),
    ],
)
@pytest.mark.report("C19")
def test_an_error_of_ray_is_one_line_with_what_to_do(text, says, tmp_path):
    line = why_no_start(RuntimeError(text + "\nmore"), ray_start.SHORT, 300)
    assert line.startswith("Ray cannot start here: ") and says in line and "\n" not in line


@pytest.mark.report("C19")
def test_an_address_without_a_cluster_names_who_set_it():
    assert why_no_answer("10.0.0.1:6379", "RAY_ADDRESS", ConnectionError("x\ny")) == (
        "RAY_ADDRESS=10.0.0.1:6379: no Ray cluster answers there (x y); unset it to start a cluster here"
    )


@pytest.mark.report("C19")
@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://localhost:{}"])
def test_an_address_where_nothing_listens_is_refused_soon(address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Refused, match=rf"^ray.address=.*:{port}: no Ray cluster answers there"):
        check_answers(address.format(port), "ray.address", patience_s=0.1)


def test_an_address_where_something_listens_is_rays_to_judge():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}", "ray.address", patience_s=0.1)
    check_answers("auto", "ray.address")
