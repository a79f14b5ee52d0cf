import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.vid2vid import Vid2VidUNet
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams, RefinerParams
from longtake.pipelines.config.paths import BUNDLES


@pytest.fixture
def copy(random_bundle, tmp_path):
    return shutil.copytree(random_bundle, tmp_path / "copy")


def change(folder, part, edit):
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_loaded_bundle_holds_the_weights_that_were_packed(random_bundle):
    bundle = load_bundle(random_bundle)
    packed = load_file(next((random_bundle / "cam").glob("*.safetensors")))
    loaded = bundle.parts["cam"].state_dict()
    assert packed.keys() == loaded.keys()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in packed.items())
    assert not any(p.requires_grad for p in bundle.parts["unet"].parameters())


@pytest.mark.parametrize("package", ["models.nets", "longtake.models.nets", "elsewhere"])
def test_classes_are_found_by_their_names_whatever_package_the_index_names(copy, package):
    index = json.loads((copy / "model_index.json").read_text())
    assert index["cam"] == ["longtake.models.nets.cam", "Cam"] and index["apm"] == ["longtake.models.nets.apm", "Apm"]
    index |= {"cam": [f"{package}.cam", "Cam"], "apm": [f"{package}.apm", "Apm"]}
    (copy / "model_index.json").write_text(json.dumps(index))
    parts = load_bundle(copy, keep=lambda name: name in ("cam", "apm")).parts
    assert type(parts["cam"]) is Cam and type(parts["apm"]) is Apm


def test_the_bundle_that_ships_names_its_classes_as_the_first_release_did():
    index = json.loads((BUNDLES / "tiny" / "model_index.json").read_text())  # its hash is in the records of jobs
    assert index["cam"] == ["models.nets.cam", "Cam"] and index["apm"] == ["models.nets.apm", "Apm"]


def test_loading_twice_gives_the_same_stages_bit_for_bit(random_bundle):
    one, two = (load_bundle(random_bundle).parts["text_encoder"].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_folder_that_is_no_bundle_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"bundle=.* is not a bundle.*no model_index.json"):
        load_bundle(tmp_path)


def test_a_missing_part_is_named(copy):
    index = json.loads((copy / "model_index.json").read_text())
    del index["refiner"]
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"incomplete: model_index.json has no refiner"):
        load_bundle(copy)


def test_a_missing_tensor_is_named_with_its_shape(copy):
    change(copy, "unet", lambda tensors: tensors.pop("conv_in.weight"))
    with pytest.raises(ValueError, match=r"unet: tensor conv_in.weight \(16, 4, 3, 3\) is missing"):
        load_bundle(copy)


def test_a_misshapen_tensor_is_named_with_both_shapes(copy):
    def edit(tensors):
        tensors["conv_in.weight"] = torch.zeros(16, 5, 3, 3, dtype=torch.float16)

    change(copy, "unet", edit)
    with pytest.raises(ValueError, match=r"conv_in.weight is \(16, 5, 3, 3\), its config asks for \(16, 4, 3, 3\)"):
        load_bundle(copy)


@pytest.mark.parametrize("part", ["text_encoder", "image_encoder", "apm", "vae", "cam"])
def test_every_part_is_checked(copy, part):
    names = []

    def edit(tensors):
        names.append(sorted(tensors)[0])
        del tensors[names[0]]

    change(copy, part, edit)
    with pytest.raises(ValueError, match=f"{part}: tensor {names[0]} .* is missing"):
        load_bundle(copy)


def test_a_pickle_is_never_opened(copy):
    for file in (copy / "unet").glob("*.safetensors"):
        file.unlink()
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"whatever")
    with pytest.raises(ValueError, match=r"unet has no \.safetensors file"):
        load_bundle(copy)


def test_a_truncated_file_is_named(copy):
    file = next((copy / "vae").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="vae.*cannot be read"):
        load_bundle(copy)


def test_broken_json_is_named(copy):
    (copy / "vae" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"vae.*config.json is not readable JSON"):
        load_bundle(copy)


def test_a_bundle_without_memories_still_makes_a_base_model(copy):
    index = json.loads((copy / "model_index.json").read_text())
    for part in ("cam", "apm", "image_encoder"):
        del index[part]
    (copy / "model_index.json").write_text(json.dumps(index))
    assert load_bundle(copy).base_model(BaseParams())


def test_sizes_that_the_refiner_cannot_take_are_answered_with_those_that_it_can(random_bundle):
    bundle = load_bundle(random_bundle)
    with pytest.raises(ValueError, match=r"refiner.width=100 must be a multiple of 8, such as 96 or 104"):
        bundle.refiner(RefinerParams(height=64, width=100))


def write_vid2vid(bundle):
    """Makes a copy's refiner MS-Vid2Vid-XL's network: other tensors it does not need."""
    config = bundle / "refiner" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "Vid2VidUNet"}))


def name_class(bundle, part, name):
    index = json.loads((bundle / "model_index.json").read_text())
    index[part] = ["longtake" if name == "Vid2VidUNet" else "diffusers", name]
    (bundle / "model_index.json").write_text(json.dumps(index))


def test_the_refiner_may_be_the_published_network(copy):
    write_vid2vid(copy)
    name_class(copy, "refiner", "Vid2VidUNet")
    bundle = load_bundle(copy)
    assert type(bundle.parts["refiner"]) is Vid2VidUNet
    assert bundle.refiner(RefinerParams(height=48, width=64))


def test_a_part_of_another_class_than_its_config_says_is_refused(copy):
    """Names and shapes of their tensors are the same, so nothing else would show it."""
    rule = "{} in config.json, a {} in model_index.json"
    name_class(copy, "refiner", "Vid2VidUNet")
    with pytest.raises(ValueError, match="refiner: it is a " + rule.format("UNet3DConditionModel", "Vid2VidUNet")):
        load_bundle(copy)
    write_vid2vid(copy)
    name_class(copy, "refiner", "UNet3DConditionModel")
    with pytest.raises(ValueError, match="refiner: it is a " + rule.format("Vid2VidUNet", "UNet3DConditionModel")):
        load_bundle(copy)


def test_words_outside_the_world_are_listed_once_and_in_order(random_bundle):
    bundle = load_bundle(random_bundle)
    assert bundle.unknown_words("A big red ball, a big dog.") == ["big", "ball", "dog"]
    assert bundle.unknown_words("a large red circle moves right over a plain navy background") == []


def test_a_network_whose_files_are_the_same_is_loaded_once(random_bundle, copy, random_opener, tmp_path):
    both = load_bundle(random_bundle, refiner=copy).parts
    assert both["refiner_vae"] is both["vae"] and both["refiner_text_encoder"] is both["text_encoder"]
    assert both["refiner"] is not both["unet"]
    opener = shutil.copytree(random_opener, tmp_path / "opener")
    shutil.rmtree(opener / "vae")
    shutil.copytree(random_bundle / "vae", opener / "vae")
    beside = load_bundle(random_bundle)
    found = load_bundle(opener, required=("vae",), beside=beside).parts
    assert found["vae"] is beside.parts["vae"] and found["text_encoder"] is not beside.parts["text_encoder"]


def test_one_byte_or_one_number_of_a_config_makes_another_network(random_bundle, copy):
    file = next((copy / "vae").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    config = copy / "text_encoder" / "config.json"
    known = json.loads(config.read_text())
    config.write_text(json.dumps(known | {"layer_norm_eps": 0.5}))
    both = load_bundle(random_bundle, refiner=copy).parts
    assert both["refiner_vae"] is not both["vae"] and both["refiner_text_encoder"] is not both["text_encoder"]
    config.write_text(json.dumps(known | {"transformers_version": "4.0.0", "_name_or_path": "elsewhere"}))
    both = load_bundle(random_bundle, refiner=copy).parts
    assert both["refiner_text_encoder"] is both["text_encoder"]
