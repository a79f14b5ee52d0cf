"""Hub ids: the cache first, then the hub, and of it only the files that are needed. All on loopback."""

import shutil

import pytest

from longtake.pipelines.config.hub import is_hub_id, needed
from tests.support.hub import files_of, hub, into_cache, python
from tests.support.pipelines import halved, in_pieces, pickled, weights_of, write_pipeline

NAME = "damo-vilab/text-to-video-ms-1.7b"
FOLDER = f"from longtake.pipelines.config.model_folders import model_folder; print(model_folder('bundle', {NAME!r}))"
INDEX = {"unet": ["diffusers", "UNet3DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"]}
WHOLE = "unet/diffusion_pytorch_model.safetensors"
NOTED = "import logging; logging.basicConfig(level=20, format='%(message)s'); "


@pytest.fixture(scope="module")
def published(random_bundle, tmp_path_factory):
    """A repository with all that people put beside the files that are needed."""
    folder = write_pipeline(random_bundle, tmp_path_factory.mktemp("hub") / "repository")
    for part in ("unet", "vae", "text_encoder"):
        file = weights_of(folder / part)
        shutil.copy(file, file.with_suffix(".fp16.safetensors"))
        (folder / part / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("# A model")
    (folder / "model.ckpt").write_bytes(b"pickle")
    (folder / "evil.py").write_text("raise SystemExit")
    return folder


@pytest.mark.parametrize("name", [NAME, f"{NAME}@v1", f"{NAME}@refs/pr/3"])
def test_a_hub_id_is_an_owner_and_a_name(name):
    assert is_hub_id(name)


@pytest.mark.parametrize("name", ["tiny", "/a/b", "./a", "../a", "a/b/c", "a/", "a b/c", "a/b@"])
def test_a_path_is_no_hub_id(name):
    assert not is_hub_id(name)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([WHOLE, WHOLE.replace(".s", ".fp16.s"), "unet/diffusion_pytorch_model.bin"], [WHOLE]),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "unet/x.bin"],
         ["unet/diffusion_pytorch_model.fp16.safetensors"]),
        (["unet/model.safetensors.index.json", "unet/model-00001-of-00002.safetensors",
          "unet/model.fp16-00001-of-00002.safetensors", "unet/model-00002-of-00002.safetensors"],
         ["unet/model.safetensors.index.json", "unet/model-00001-of-00002.safetensors",
          "unet/model-00002-of-00002.safetensors"]),
        (["unet/model.safetensors.index.fp16.json", "unet/model.fp16-00001-of-00001.safetensors"],
         ["unet/model.safetensors.index.fp16.json", "unet/model.fp16-00001-of-00001.safetensors"]),
        (["safety_checker/model.safetensors", "extra/config.json", "README.md", "unet/run.py"], []),
    ],
)  # fmt: skip
def test_one_set_of_weights_of_each_part_is_needed(names, chosen):
    always = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"]
    index = {**INDEX, "safety_checker": ["x", "Y"]}
    assert sorted(needed([*always, *names], index)) == sorted([*always, *chosen])


def test_pickles_are_not_even_fetched_unless_they_are_asked_for():
    names = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]
    with pytest.raises(ValueError, match=r"its unet has no \.safetensors file.*--allow-pickle"):
        needed(names, INDEX)
    assert needed(names, INDEX, allow_pickle=True) == names[:1] + sorted(names[1:])


def test_what_is_in_the_cache_needs_no_hub(published, tmp_path):
    snapshot = into_cache(published, tmp_path / "cache", NAME)
    done = python(FOLDER, tmp_path / "cache", url=None)
    assert done.stdout.strip() == str(snapshot), done.stderr


def test_offline_and_absent_is_one_line(tmp_path):
    done = python(FOLDER, tmp_path / "cache", url=None)
    last = done.stderr.splitlines()[-1]
    said = "there is no such folder, as a hub id it is not in the cache, and this machine is told to stay offline"
    assert last == f"ValueError: bundle={NAME}: {said} (HF_HUB_OFFLINE)"


def test_a_hub_that_cannot_be_reached_is_named(tmp_path):
    last = python(FOLDER, tmp_path / "cache", url="http://127.0.0.1:9").stderr.splitlines()[-1]
    assert f"ValueError: bundle={NAME}" in last and "http://127.0.0.1:9 cannot be reached" in last


def test_the_needed_files_are_fetched_once_and_no_others(published, tmp_path):
    with hub({NAME: published}) as server:
        done = python(NOTED + FOLDER, tmp_path / "cache", server.url)
        assert f"bundle={NAME}: fetching 11 files" in done.stderr, done.stderr
        unwanted = [name for name in files_of(published) if ".bin" in name or ".fp16" in name]
        unwanted += ["README.md", "model.ckpt", "evil.py"]
        assert server.fetched == sorted(set(files_of(published)) - set(unwanted))
        asked = len(server.asked)
        again = python(FOLDER, tmp_path / "cache", server.url)
        assert again.stdout == done.stdout and len(server.asked) == asked


def test_a_cache_that_lacks_a_part_is_completed(published, tmp_path):
    snapshot = into_cache(published, tmp_path / "cache", NAME)
    for file in (snapshot / "vae").glob("*.safetensors"):
        file.unlink()
    (snapshot / "vae" / "diffusion_pytorch_model.bin").unlink()
    last = python(FOLDER, tmp_path / "cache", url=None).stderr.splitlines()[-1]
    assert "is not complete in the cache (the weights of vae are missing), and this machine" in last
    with hub({NAME: published}) as server:
        done = python(FOLDER, tmp_path / "cache", server.url)
        assert done.stdout.strip() == str(snapshot), done.stderr
    assert weights_of(snapshot / "vae").read_bytes() == weights_of(published / "vae").read_bytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody/nothing", "has no such model"),
        (f"{NAME}@v9", "has no such revision of it"),
        ("a/empty", "it is no pipe"),
    ],
)
def test_what_the_hub_has_not_is_named(published, tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    code = FOLDER.replace(NAME, name)
    with hub({NAME: published, "a/empty": tmp_path / "empty"}) as server:
        last = python(code, tmp_path / "cache", server.url).stderr.splitlines()[-1]
    assert last.startswith(f"ValueError: bundle={name}: there is no such folder") and says in last


def test_a_revision_is_fetched_and_found_again(published, tmp_path):
    code = FOLDER.replace(NAME, f"{NAME}@v1")
    with hub({NAME: published}) as server:
        done = python(code, tmp_path / "cache", server.url)
    assert python(code, tmp_path / "cache", url=None).stdout == done.stdout != ""


@pytest.mark.parametrize("change", [halved, in_pieces, pickled])
def test_other_layouts_are_fetched_too(random_bundle, tmp_path, change):
    folder = write_pipeline(random_bundle, tmp_path / "repository")
    change(folder / "unet")
    code = FOLDER.replace("))", ", allow_pickle=True))")
    with hub({NAME: folder}) as server:
        done = python(code, tmp_path / "cache", server.url)
        assert server.fetched == sorted(files_of(folder)), done.stderr
