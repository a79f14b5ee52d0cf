"""Weights in every layout give the same networks, and no pickle runs code."""

import os
import pickle
import shutil
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.files import REQUIRED_OF_BASE
from longtake.models.stages.weights import known_name
from tests.support.pipelines import STEM, halved, in_pieces, pickled, weights_of, write_pipeline


def load(folder, *names, **options):
    return load_bundle(folder, keep=lambda name: name in names, required=REQUIRED_OF_BASE, **options).parts


def same(one, two):
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def pipeline(random_bundle, tmp_path_factory):
    return write_pipeline(random_bundle, tmp_path_factory.mktemp("weights") / "pipeline")


@pytest.fixture
def copy(pipeline, tmp_path):
    return shutil.copytree(pipeline, tmp_path / "copy")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("change", [in_pieces, pickled])
def test_pieces_and_pickles_give_the_same_bits(pipeline, copy, part, change):
    change(copy / part)
    assert same(load(pipeline, part)[part], load(copy, part, allow_pickle=True)[part])


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_variant_alone_is_loaded(pipeline, copy, part):
    halved(copy / part)
    whole, half = load(pipeline, part)[part].half().float(), load(copy, part)[part]
    assert same(whole, half) and half.dtype == torch.float32


@pytest.mark.parametrize(("part", "name"), [("text_encoder", STEM), ("unet", "model"), ("vae", "pytorch_model")])
def test_the_names_of_both_libraries_are_known_for_every_part(pipeline, copy, part, name):
    file = weights_of(copy / part)
    file.rename(file.with_name(f"{name}.safetensors"))
    assert same(load(pipeline, part)[part], load(copy, part)[part])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_on_disk_becomes_the_one_that_is_asked_for(copy, dtype):
    file = weights_of(copy / "unet")
    save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file)
    assert {p.dtype for p in load(copy, "unet")["unet"].parameters()} == {torch.float32}
    assert {p.dtype for p in load(copy, "unet", dtype=torch.bfloat16)["unet"].parameters()} == {torch.bfloat16}


def test_parts_of_larger_tensors_are_loaded_alone(pipeline, copy):
    file = weights_of(copy / "unet")
    tensors = {name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor
               for name, tensor in load_file(file).items()}  # fmt: skip
    torch.save(tensors, file.with_suffix(".bin"))
    file.unlink()
    network = load(copy, "unet", allow_pickle=True)["unet"]
    assert same(load(pipeline, "unet")["unet"], network) and all(p.is_contiguous() for p in network.parameters())


def test_links_of_a_snapshot_are_followed(pipeline, tmp_path):
    for file in (path for path in pipeline.rglob("*") if path.is_file()):
        link = tmp_path / "snapshot" / file.relative_to(pipeline)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(file, link.parent))
    assert same(load(pipeline, "unet")["unet"], load(tmp_path / "snapshot", "unet")["unet"])


def test_our_loader_gives_what_transformers_gives(pipeline, random_bundle):
    ids = torch.tensor([[0, 3, 4, 5, 1, 1]])
    for folder, cls in ((pipeline, CLIPTextModel), (random_bundle, CLIPTextModelWithProjection)):
        theirs = cls.from_pretrained(folder / "text_encoder", dtype=torch.float32, local_files_only=True).eval()
        ours = load(folder, "text_encoder")["text_encoder"]
        with torch.no_grad():
            assert torch.equal(ours(ids).last_hidden_state, theirs(ids).last_hidden_state)


def test_an_old_tokenizer_is_read_from_its_two_files(pipeline):
    tokenizer = load(pipeline, "tokenizer")["tokenizer"]
    assert tokenizer("a bad").input_ids == [0, 12, 23, 1]


def test_a_broken_tokenizer_is_named(copy):
    (copy / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match=r"bundle part .*tokenizer.* is not readable as a tokenizer"):
        load(copy, "tokenizer")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("text_model.encoder.x", "encoder.x"),
        ("mid.attentions.0.query.weight", "mid.attentions.0.to_q.weight"),
        ("mid.attentions.0.proj_attn.bias", "mid.attentions.0.to_out.0.bias"),
        ("logits", "text_model.logits"),
        ("text_model.embeddings.position_ids", None),
        ("weight", None),
    ],
)
def test_older_names_of_tensors_are_known(name, known):
    expected = ["encoder.x", "mid.attentions.0.to_q.weight", "mid.attentions.0.to_out.0.bias", "text_model.logits"]
    assert known_name(name, dict.fromkeys(expected)) == known


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("save", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"conv_in.weight": torch.zeros(1), "x": bad}])
def test_a_hostile_pickle_is_refused_and_its_code_does_not_run(copy, tmp_path, save, wrap):
    weights_of(copy / "unet").unlink()
    mark = tmp_path / "ran"
    save(wrap(Hostile(mark)), copy / "unet" / f"{STEM}.bin")
    for options in ({}, {"allow_pickle": True}):
        with pytest.raises(ValueError, match=r"bundle part .*unet"):
            load(copy, "unet", **options)
    assert not mark.exists()
    with suppress(RuntimeError):  # it would have run
        torch.load(copy / "unet" / f"{STEM}.bin", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("value", [[torch.zeros(1)], {"a": 3}, torch.zeros(1)])
def test_a_pickle_of_something_else_is_refused(copy, value):
    weights_of(copy / "unet").unlink()
    torch.save(value, copy / "unet" / f"{STEM}.bin")
    with pytest.raises(ValueError, match="is refused: it must hold tensors by name, and nothing else"):
        load(copy, "unet", allow_pickle=True)


def test_a_cut_pickle_is_named(copy):
    pickled(copy / "unet")
    file = copy / "unet" / f"{STEM}.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"unet.*bin is refused"):
        load(copy, "unet", allow_pickle=True)


def test_code_beside_a_tokenizer_is_not_run(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("nobody is asked"))
    (copy / "tokenizer" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert type(load(copy, "tokenizer")["tokenizer"]) is not AutoTokenizer
    assert not (tmp_path / "ran").exists()
