import errno
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import s3fs

import longtake.pipelines.files.store
from longtake.pipelines.files.store import Store
from tests.support.places import ROOT

ELSEWHERE = """
import pickle, sys
store = pickle.loads(bytes.fromhex(sys.argv[1]))
store.put("from/elsewhere", store.get("here") + b"!")
print(store)
"""

# Two files take turns under one name; whoever reads sees one of them whole.
WRITES_ON = """
import sys
from longtake.pipelines.files.store import Store
store = Store(sys.argv[1])
print("begun", flush=True)
while True:
    for letter in (b"a", b"b"):
        store.put("videos/take.mp4", letter * 3_000_000)
"""


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(tmp_path / "out")
    return Store(f"{request.getfixturevalue('s3_url')}/{tmp_path.name}/o[u]t")  # brackets are not wildcards


def _run(program: str, *args: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)], env=env, stdout=subprocess.PIPE, text=True
    )


def test_a_file_is_there_after_it_was_put_and_gone_after_it_was_deleted(store):
    assert not store.exists("videos/a/take.mp4")
    store.put("videos/a/take.mp4", b"old")
    store.put("videos/a/take.mp4", b"new")
    assert store.exists("videos/a/take.mp4") and store.get("videos/a/take.mp4") == b"new"
    store.delete("videos/a/take.mp4", "videos/never.mp4")
    assert not store.exists("videos/a/take.mp4")
    with pytest.raises(FileNotFoundError):
        store.get("videos/a/take.mp4")


def test_many_files_are_read_at_a_time_and_a_missing_one_is_none(store):
    names = [f"{n:03}" for n in range(40)]
    for name in names[1:]:
        store.put(name, name.encode())
    assert store.get_each(names) == [None, *(name.encode() for name in names[1:])]
    store.delete(*names)
    assert store.list() == []


def test_a_file_is_created_once(store):
    assert store.create("records/a.json", b"first")
    assert not store.create("records/a.json", b"second")
    assert store.get("records/a.json") == b"first"
    assert store.list() == ["records/a.json"]


def test_of_many_who_create_a_file_one_does(tmp_path):
    store = Store(tmp_path)  # in an object store the server decides
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda n: store.create("record", bytes([n])), range(8)))
    assert created.count(True) == 1
    assert store.get("record") == bytes([created.index(True)])


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_hard_links_creates_a_file_once_too(tmp_path, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(longtake.pipelines.files.store.os, "link", refuse)
    store = Store(tmp_path)
    assert store.create("record", b"first")
    assert not store.create("record", b"second")
    assert store.get("record") == b"first" and os.listdir(tmp_path) == ["record"]


def test_what_goes_wrong_when_a_file_is_created_is_raised(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError, match="file"):
        Store(tmp_path).create("file/record", b"")


def test_a_listing_is_sorted_fresh_and_relative(store):
    assert store.list("videos") == []
    for path in ("videos/b/2", "videos/b/1", "videos/a", "videos2/c"):
        store.put(path, b"")
    assert store.list("videos") == ["videos/a", "videos/b/1", "videos/b/2"]
    assert store.list() == ["videos/a", "videos/b/1", "videos/b/2", "videos2/c"]
    s3fs.S3FileSystem.clear_instance_cache()  # instances do not share their changes
    other = pickle.loads(pickle.dumps(store))
    other.put("videos/new", b"")
    other.delete("videos/a")
    assert store.exists("videos/new") and not store.exists("videos/a")
    assert store.list("videos") == ["videos/b/1", "videos/b/2", "videos/new"]


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(tmp_path):
    (tmp_path / "videos").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Store(tmp_path).list("videos")


def test_a_store_works_in_another_process(store):
    store.put("here", b"bytes")
    out, _ = _run(ELSEWHERE, pickle.dumps(store).hex()).communicate(timeout=60)
    assert out == f"{store}\n"
    assert store.get("from/elsewhere") == b"bytes!"


def test_a_relative_path_stays_where_it_was_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("out")
    monkeypatch.chdir("/")
    store.put("a", b"")
    assert store.local_path == tmp_path / "out" and str(store) == str(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["a"]


@pytest.mark.parametrize("scheme", ["file://", "local://", ""])
def test_a_local_disk_is_known_as_one(tmp_path, scheme):
    assert Store(f"{scheme}{tmp_path}").local_path == tmp_path
    assert Store("s3://videos/out").local_path is None


def test_a_killed_writer_leaves_a_whole_file_and_what_else_it_left_is_swept(tmp_path):
    store = Store(tmp_path)
    left = 0
    for pause_s in (0.0, 0.004, 0.008, 0.012):
        process = _run(WRITES_ON, tmp_path)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        while not store.exists("videos/take.mp4"):
            assert process.poll() is None
        for _ in range(20):
            assert store.list() == ["videos/take.mp4"]
            _assert_whole(store.get("videos/take.mp4"))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(pause_s)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        _assert_whole(store.get("videos/take.mp4"))
        assert store.list() == ["videos/take.mp4"]
        left += len(os.listdir(tmp_path / "videos")) - 1
    assert left > 0, "no kill came while a file was being written"
    store.sweep()
    assert os.listdir(tmp_path / "videos") == ["take.mp4"]


def test_a_sweep_leaves_all_files(store):
    for path in ("a.part", ".hidden", "videos/take.mp4"):
        store.put(path, b"")
    store.sweep()
    assert store.list() == [".hidden", "a.part", "videos/take.mp4"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path)
    store.put("a", b"old")
    monkeypatch.setattr(longtake.pipelines.files.store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put("a", b"new")
    with pytest.raises(OSError, match="No space left"):
        store.create("b", b"new")
    assert store.get("a") == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_place_that_can_be_written_passes_the_check_and_stays_empty(store):
    store.check("out")
    assert store.list() == []


def test_a_place_that_cannot_be_written_is_an_error_that_says_why(tmp_path, s3_url, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    places = {
        f"{tmp_path}/file": "File exists",
        f"{tmp_path}/file/out": "Not a directory",
        "nonsense://out": "Protocol not known: nonsense",
        "gs://bucket/out": "install gcsfs",
        "s3://no-such-bucket/out": "bucket does not exist",
    }
    for place, reason in places.items():
        with pytest.raises(ValueError, match=f"^out={place}: no file can be written there .*{reason}"):
            Store(place).check("out")


def test_missing_credentials_are_said(s3_url, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ValueError, match=rf"^out={s3_url}/out: .*credentials"):
        Store(f"{s3_url}/out").check("out")
    s3fs.S3FileSystem.clear_instance_cache()


def _assert_whole(data: bytes) -> None:
    assert data in (b"a" * 3_000_000, b"b" * 3_000_000)


@pytest.mark.report("B10")
@pytest.mark.parametrize("name", ["a::b", "a%20b", "file:x", "x#1", "what?", "*[a]"])
def test_a_local_path_is_no_url(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    store = Store(name)
    store.put("a", b"1")
    assert store.get("a") == b"1" and store.exists("a") and store.size("a") == 1 and store.list() == ["a"]
    assert (tmp_path / name / "a").read_bytes() == b"1"


@pytest.mark.report("B12")
@pytest.mark.parametrize("out", ["out", "./deep/out"])
def test_a_folder_in_rays_copy_of_the_working_directory_is_refused(tmp_path, monkeypatch, out):
    copy = tmp_path / "ray/session_1/runtime_resources/working_dir_files/_ray_pkg_0123"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(ValueError, match=r"^out=/.*: this is Ray's copy of the working directory"):
        Store(out).check("out")
    Store(tmp_path / "out").check("out")


@pytest.mark.report("B8")
def test_a_full_disk_is_said_with_the_path(tmp_path, full_disk):
    store = Store(tmp_path)
    with pytest.raises(OSError, match=r"take\.mp4"):
        store.put("videos/take.mp4", bytes(5000))
    with pytest.raises(ValueError, match=rf"^out={tmp_path}: no file can be written there"):
        store.check("out")
    assert store.list() == []
