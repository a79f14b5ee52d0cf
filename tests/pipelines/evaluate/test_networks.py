import shutil

import pytest

from longtake.pipelines.evaluate.networks import CLIP_PARTS, load_clip
from tests.support.pipelines import pickled


@pytest.mark.parametrize("kind", ["bundle", "transformers"])
def test_clip_is_read_from_pickles_where_that_is_allowed(copy_of_random_bundle, tmp_path, kind):
    folder = copy_of_random_bundle if kind == "bundle" else tmp_path / "clip"
    for part in CLIP_PARTS:
        if kind == "transformers":
            shutil.copytree(copy_of_random_bundle / part, folder, dirs_exist_ok=True)
        if kind == "bundle" and part != "tokenizer":
            pickled(copy_of_random_bundle / part)
    if kind == "transformers":
        pickled(folder)
    with pytest.raises((ValueError, OSError), match=r"safetensors"):
        load_clip(str(folder))
    assert load_clip(str(folder), allow_pickle=True)
