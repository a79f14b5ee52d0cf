"""The weight files of a part: which are read, and what is said of broken ones."""

import json
import shutil

import pytest

from longtake.models.stages.weight_files import choose, num_parameters, read_header, read_headers, weight_files
from tests.support.pipelines import halved, in_pieces, pickled, weights_of

D = "diffusion_pytorch_model"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([f"{D}.safetensors", f"{D}.fp16.safetensors", f"{D}.bin", "config.json"], f"{D}.safetensors"),
        (["model.safetensors"], "model.safetensors"),
        ([f"{D}.fp16.safetensors", f"{D}.non_ema.safetensors"], f"{D}.fp16.safetensors"),
        ([f"{D}.non_ema.safetensors"], f"{D}.non_ema.safetensors"),
        ([f"{D}.safetensors.index.json", f"{D}-00001-of-00002.safetensors", f"{D}.fp16.safetensors"],
         f"{D}.safetensors.index.json"),
        (["model.safetensors.index.fp16.json", "model.fp16-00001-of-00002.safetensors"],
         "model.safetensors.index.fp16.json"),
        ([f"{D}.fp16-00001-of-00002.safetensors"], None),
        (["pytorch_model.bin", f"{D}.bin"], None),
        (["pytorch_lora_weights.safetensors", "optimizer.bin", "x.ckpt"], None),
        ([], None),
    ],
)  # fmt: skip
def test_one_set_of_weights_is_chosen(names, chosen):
    assert choose(names) == chosen == choose(reversed(names))


def test_a_pickle_is_chosen_last_and_only_where_it_is_allowed():
    assert choose(["pytorch_model.bin"]) is None
    assert choose(["pytorch_model.bin", "pytorch_model.fp16.bin"], allow_pickle=True) == "pytorch_model.bin"
    assert choose(["pytorch_model.bin", "model.fp16.safetensors"], allow_pickle=True) == "model.fp16.safetensors"


@pytest.fixture
def part(random_bundle, tmp_path):
    return shutil.copytree(random_bundle / "unet", tmp_path / "unet")


@pytest.mark.parametrize("change", [halved, in_pieces])
def test_headers_are_those_of_the_whole_in_every_layout(part, change):
    before = read_headers(part)
    change(part)
    after = read_headers(part)
    assert {name: t.shape for name, t in after.items()} == {name: t.shape for name, t in before.items()}
    assert num_parameters(after) == num_parameters(before) > 0


def test_pickles_are_named_with_the_way_to_read_them(part):
    pickled(part)
    with pytest.raises(
        ValueError, match=r"unet has no \.safetensors file, only \.bin .*--allow-pickle \(allow_pickle=t"
    ):
        weight_files(part)
    assert [file.name for file in weight_files(part, allow_pickle=True)] == [f"{D}.bin"]
    assert read_headers(part, allow_pickle=True) == {}


def test_a_missing_piece_is_named(part):
    in_pieces(part)
    (part / f"{D}-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=f"unet: {D}-00002-of-00002.safetensors is missing, a piece that"):
        weight_files(part)


@pytest.mark.parametrize("name", ["../cam/x.safetensors", "/etc/passwd", "x.bin", "evil.py"])
def test_an_index_names_only_pieces_beside_it(part, name):
    in_pieces(part)
    index = part / f"{D}.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match=r"index.json names .*, which is no \.safetensors beside it"):
        weight_files(part)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (lambda data: data[:-1], r"it has \d+ bytes, its header says \d+"),
        (lambda data: data + b"x", r"it has \d+ bytes, its header says \d+"),
        (lambda data: data[:100], "it is cut off after 100 bytes, its header alone has"),
        (lambda data: data[:5], "it has 5 bytes and is not in the safetensors format"),
        (lambda data: b"", "it has 0 bytes and is not"),
        (
            lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "it is a pointer of git-lfs, without the weights",
        ),
        (lambda data: (4).to_bytes(8, "little") + b"[1]x", "its header is not in the safetensors format"),
        (lambda data: (7).to_bytes(8, "little") + b'{"a":1}', "its header is not in the safetensors format"),
    ],
)
def test_a_broken_file_is_named_with_what_is_broken(part, cut, says):
    file = weights_of(part)
    file.write_bytes(cut(file.read_bytes()))
    with pytest.raises(ValueError, match=f"bundle part .*unet.*cannot be read: {says}"):
        read_header(file)
