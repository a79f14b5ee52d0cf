"""Files that are no checkpoint, or that were made to do harm: one clear error, and nothing is left behind."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from longtake.models.convert.placement import Take
from longtake.pipelines.__main__ import main
from longtake.pipelines.convert.checkpoint import MAX_PICKLE_BYTES, open_checkpoint, pieces
from tests.support import published

NAME = "base_model.conv_in.weight"


@pytest.fixture(scope="module")
def nets():
    return published.streaming_nets()


@pytest.fixture(scope="module")
def base(nets, tmp_path_factory):
    return published.write_pipeline(tmp_path_factory.mktemp("base") / "modelscope", nets)


@pytest.fixture
def refused(base, tmp_path, monkeypatch, capsys):
    """Converts the file, which must be refused: exit code 2, one line, nothing written."""
    monkeypatch.chdir(tmp_path)

    def run(path: str, *more: str) -> str:
        before = sorted(os.listdir())
        argv = ["convert", "streaming-t2v", "--checkpoint", path, "--base", str(base), "--out", "bundle", *more]
        assert main(argv) == 2
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("longtake:")]
        assert out == "" and len(lines) == 1, err
        assert sorted(os.listdir()) == before
        return lines[0].removeprefix("longtake: error: ")

    return run


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


class NoTensor:
    pass


def zipped(path: str, pickled: bytes, packed: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


def test_an_empty_file(refused):
    Path("empty.ckpt").touch()
    assert "checkpoint=empty.ckpt: the file is empty" in refused("empty.ckpt")


def test_a_file_that_is_missing_or_a_folder(refused):
    assert refused("absent.ckpt") == "checkpoint=absent.ckpt is no file"
    assert refused(".") == "checkpoint=. is no file"


@pytest.mark.parametrize("content", [b"hello", b"\x08\0\0\0\0\0\0\0{}      ", pickle.dumps({"a": 1})])
def test_a_file_of_another_kind(refused, content):
    Path("other.ckpt").write_bytes(content)
    assert "it is not a file of torch.save" in refused("other.ckpt")


def test_a_file_in_the_format_before_1_6(refused):
    torch.save({NAME: torch.ones(3)}, "old.ckpt", _use_new_zipfile_serialization=False)
    assert "PyTorch's format from before 1.6" in refused("old.ckpt")


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_flipped_bit_is_found_and_its_tensor_named(refused, nets, which):
    torch.save(nets.tensors(), "whole.ckpt")
    stored = open_checkpoint(Path("whole.ckpt")).tensors[NAME]
    data = bytearray(Path("whole.ckpt").read_bytes())
    data[stored.start if which == "first" else stored.start + stored.num_bytes - 1] ^= 1
    Path("damaged.ckpt").write_bytes(data)
    assert refused("damaged.ckpt").startswith(f"checkpoint=damaged.ckpt: {NAME} is damaged, its bytes do not have the")


def test_a_file_that_was_written_without_checksums_is_read(nets, base, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(nets.tensors(), tmp_path / "plain.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    argv = ["--checkpoint", str(tmp_path / "plain.ckpt"), "--base", str(base), "--out", str(tmp_path / "bundle")]
    assert main(["convert", "streaming-t2v", *argv]) == 0


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off(refused, nets, kept):
    torch.save(nets.tensors(), "whole.ckpt")
    data = Path("whole.ckpt").read_bytes()
    Path("cut.ckpt").write_bytes(data[: int(kept * len(data))])
    assert "is it cut off?" in refused("cut.ckpt")


def test_code_in_the_file_is_never_run(refused):
    torch.save({NAME: torch.ones(3), "callback": Harm()}, "harm.ckpt")
    assert "posix.system" in refused("harm.ckpt") and not Path("harmed").exists()
    torch.save({"state_dict": {NAME: torch.ones(3)}, "hyper_parameters": NoTensor()}, "objects.ckpt")
    assert "it holds more than tensors" in refused("objects.ckpt")


def test_a_bomb_is_not_unpacked(refused):
    zipped("bomb.ckpt", b"\0" * (200 << 20), zipfile.ZIP_DEFLATED)
    assert os.path.getsize("bomb.ckpt") < 1 << 20
    assert "archive/data.pkl would take more room than the file has" in refused("bomb.ckpt")


def test_a_list_of_tensors_that_is_too_long_is_not_read(refused):
    zipped("long.ckpt", b"\0" * (MAX_PICKLE_BYTES + 1))
    assert f"its list of tensors has {MAX_PICKLE_BYTES + 1} bytes" in refused("long.ckpt")


def test_an_archive_of_other_things(refused):
    with zipfile.ZipFile("photos.ckpt", "w") as archive:
        archive.writestr("photo.jpg", b"...")
    assert "it has 0 records data.pkl" in refused("photos.ckpt")
    zipped("garbage.ckpt", b"\x80\x02garbage")
    assert "torch cannot read it" in refused("garbage.ckpt")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([torch.ones(3)], "it holds a list"),
        (torch.ones(3), "it holds a Tensor"),
        ({}, "it is empty"),
        ({"model": {"state_dict": {NAME: torch.ones(3)}}}, "'model' is a dict"),
        ({"state_dict": {"state_dict": {NAME: torch.ones(3)}}}, "'state_dict' is a dict"),
        ({"state_dict": {NAME: [1.0]}}, f"'{NAME}' is a list"),
    ],
)
def test_tensors_in_another_place(refused, content, rule):
    torch.save(content, "nested.ckpt")
    assert rule in refused("nested.ckpt")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_a_dtype_that_no_network_has(refused, nets, dtype):
    torch.save({**nets.tensors(), NAME: torch.ones(3).to(dtype)}, "dtype.ckpt")
    name = str(dtype).removeprefix("torch.")
    assert f"{NAME} is {name}, expected one of float32, float16, bfloat16" in refused("dtype.ckpt")


def test_sparse_tensors(refused, nets):
    torch.save({**nets.tensors(), NAME: torch.eye(3).to_sparse()}, "sparse.ckpt")
    assert f"{NAME} is sparse_coo" in refused("sparse.ckpt")


def test_missing_unknown_and_misshapen_tensors_are_named_up_to_five(refused, nets):
    tensors = nets.tensors()
    del tensors["unet.conv_in.bias"]
    torch.save({**tensors, NAME: torch.ones(3), "surplus": torch.ones(1)}, "wrong.ckpt")
    said = refused("wrong.ckpt")
    assert "unet.conv_in.bias is missing" in said and "surplus has no place here" in said
    assert f"{NAME} is (3,), expected (16, 4, 3, 3)" in said and "more" not in said
    torch.save({name: value for name, value in tensors.items() if not name.startswith("vae.decoder.")}, "half.ckpt")
    said = refused("half.ckpt")
    assert said.count(" is missing") == 5 and "more" in said


@pytest.mark.parametrize("gone", ["resampler.context_embedding.0.weight", "image_encoder.model.visual.conv1.weight"])
def test_a_tensor_that_a_size_depends_on_is_named_too(refused, nets, gone):
    torch.save({name: value for name, value in nets.tensors().items() if name != gone}, "wrong.ckpt")
    assert f"{gone} is missing" in refused("wrong.ckpt")
    torch.save({**nets.tensors(), gone: torch.ones(())}, "wrong.ckpt")
    assert f"{gone} is ()" in refused("wrong.ckpt")


def test_the_other_checkpoint_and_a_setting(refused):
    torch.save({"input_blocks.0.0.weight": torch.ones(2)}, "refiner.pth")
    assert "is one for `longtake convert vid2vid-xl`" in refused("refiner.pth")
    assert "base.eta=1 has no effect here" in refused("refiner.pth", "base.eta=1")


def test_a_value_that_is_repeated_beyond_the_size_of_the_file(refused, nets):
    torch.save({**nets.tensors(), NAME: torch.ones(1).expand(10**12)}, "repeated.ckpt")
    assert f"{NAME} is (1000000000000,), which is more than the file has" in refused("repeated.ckpt")


def test_tensors_beyond_the_end_of_the_file_are_refused(tmp_path):
    """The list of tensors says where their bytes are: it may lie."""
    path = tmp_path / "lies.ckpt"
    torch.save({NAME: torch.ones(4)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            longer = data.replace(b"K\x04\x85", b"M\xff\xff\x85").replace(b"K\x04t", b"M\xff\xfft")
            archive.writestr(name, longer if name.endswith("data.pkl") else data)
    with pytest.raises(ValueError, match="lies outside of the file"):
        open_checkpoint(path)


def test_bytes_are_those_of_the_tensor_whatever_its_layout(tmp_path):
    whole = torch.randn(6, 4)
    tensors = {
        "whole": whole,
        "view": whole[2:5],
        "turned": whole.T,
        "strided": whole[:, ::2],
        "spread": torch.ones(1).expand(3),
    }
    torch.save({**tensors, "number": torch.tensor(3.0), "none": torch.ones(0, 2)}, tmp_path / "some.ckpt")
    checkpoint = open_checkpoint(tmp_path / "some.ckpt")
    with checkpoint.path.open("rb") as file:

        def read(name: str, **options) -> bytes:
            stored = checkpoint.tensors[name]
            return b"".join(map(bytes, pieces(file, stored, Take(name, stored.shape, **options))))

        for name, tensor in tensors.items():
            assert read(name) == tensor.contiguous().numpy().tobytes(), name
        assert read("number") == torch.tensor(3.0).numpy().tobytes() and read("none") == b""
        assert read("whole", transposed=True) == whole.T.contiguous().numpy().tobytes()
        assert read("whole", third=1) == whole[2:4].contiguous().numpy().tobytes()
        assert read("turned", transposed=True) == whole.numpy().tobytes()
