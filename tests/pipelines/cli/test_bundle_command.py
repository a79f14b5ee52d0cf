"""`longtake bundle show` and `longtake bundle check`."""

import json
import subprocess
import sys
import time

import pytest

from longtake.pipelines.__main__ import main
from tests.support import video_pipelines
from tests.support.pipelines import change_json, pickled, weights_of, write_pipeline


def test_show_has_a_row_for_every_part(random_bundle, capsys):
    assert main(["bundle", "show", str(random_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    index = json.loads((random_bundle / "model_index.json").read_text())
    for name, entry in index.items():
        if isinstance(entry, list):
            assert any(line.startswith(f"{name} ") and entry[1] in line for line in lines), name
    said = "\n".join(lines)
    assert "legal frames of the base: both sides multiples of 8, 32x32 by default" in said
    assert "Weights are counted" in said and "is an estimate" in said


def test_show_says_what_the_bundle_says_of_itself(copy_of_random_bundle, capsys):
    about = {
        "format": 1,
        "sources": [
            {"file": "streaming_t2v.ckpt", "bytes": 6_000_000_000, "sha256": "ab" * 32, "parts": ["unet"]},
            {"trained": "longtake train: 5 steps", "from": "streaming_t2v.ckpt", "parts": ["cam"]},
        ],
        "left_out": [{"tensor": "image_encoder.model.logit_scale", "reason": "no network has it"}],
        "licences": [{"parts": ["unet"], "text": "for non-commercial use"}],
        "defaults": {"base.num_inference_steps": 50, "refiner.height": 64, "refiner.width": 96},
    }
    (copy_of_random_bundle / "bundle.json").write_text(json.dumps(about))
    assert main(["bundle", "show", str(copy_of_random_bundle)]) == 0
    said = capsys.readouterr().out
    for text in ("streaming_t2v.ckpt, 6.0 GB, sha256 abab", "left out: 1 tensors", "unet: for non-commercial use",
                 "longtake train: 5 steps, begun with streaming_t2v.ckpt: cam",
                 "base.num_inference_steps=50", "refiner  96x64"):  # fmt: skip
        assert text in said


def test_show_estimates_memory_for_the_size_that_is_asked_for(random_bundle, capsys):
    assert main(["bundle", "show", str(random_bundle), "--size", "1280x720", "--batch", "3", "dtype=float16"]) == 0
    said = capsys.readouterr().out
    assert "dtype=float16 (2 bytes a value), 3 predictions at a time" in said and "refiner  1280x720" in said


@pytest.mark.parametrize("size", ["big", "0x10", "720", "1280x720x3", "-1x5"])
def test_a_size_that_is_none_is_refused(random_bundle, capsys, size):
    assert main(["bundle", "show", str(random_bundle), f"--size={size}"]) == 2
    assert f"'{size}' is no size such as 1280x720" in capsys.readouterr().err


def write_sparse(folder, gigabytes):
    """A folder whose weights are as large as those of a published model, most of it holes."""
    for name in ("unet", "vae"):
        file = weights_of(folder / name)
        size = gigabytes * 10**9 // 2
        header = json.dumps({"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
        with file.open("wb") as opened:
            opened.write(len(header).to_bytes(8, "little") + header)
            opened.truncate(8 + len(header) + size)


def test_show_reads_no_weights_and_no_torch(copy_of_random_bundle):
    write_sparse(copy_of_random_bundle, 6)
    code = (
        "import sys; from longtake.pipelines.__main__ import main;"
        f"code = main(['bundle', 'show', {str(copy_of_random_bundle)!r}]);"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(" 750,000,000 ") == 2 and done.stdout.endswith("[]\n"), (
        done.stderr
    )
    assert time.monotonic() - began < 30  # a second on a machine with nothing else to do


def test_check_says_that_all_is_well(random_bundle, tmp_path, capsys):
    assert main(["bundle", "check", str(random_bundle)]) == 0
    assert "no problem in 10 parts\n" in capsys.readouterr().out
    assert main(["bundle", "check", str(write_pipeline(random_bundle, tmp_path / "p"))]) == 0
    assert "it has no refiner, so it needs refiner.enabled=false or refiner.model" in capsys.readouterr().out


def test_check_lists_every_problem_and_exits_with_2(copy_of_random_bundle, capsys):
    weights_of(copy_of_random_bundle / "vae").unlink()
    change_json(copy_of_random_bundle / "refiner" / "config.json", cross_attention_dim=48)
    assert main(["bundle", "check", str(copy_of_random_bundle)]) == 2
    said = capsys.readouterr().out
    assert "vae has no .safetensors file" in said and "refiner has cross_attention_dim=48, but text_encoder" in said
    assert said.splitlines()[-1].endswith("problems")


def test_pickles_are_checked_when_they_are_allowed(random_bundle, tmp_path, capsys):
    folder = write_pipeline(random_bundle, tmp_path / "p")
    pickled(folder / "unet")
    assert main(["bundle", "check", str(folder)]) == 2
    assert "--allow-pickle" in capsys.readouterr().out
    assert main(["bundle", "check", str(folder), "--allow-pickle"]) == 0
    assert main(["bundle", "show", str(folder)]) == 0
    assert "in pickles" in capsys.readouterr().out


def test_a_pipeline_of_diffusers_that_opens_is_named_and_checked(copy_of_random_bundle, capsys):
    opener = video_pipelines.write_pipeline(
        video_pipelines.svd, copy_of_random_bundle, copy_of_random_bundle / "opener"
    )
    assert main(["bundle", "show", str(copy_of_random_bundle)]) == 0
    assert f"opener: StableVideoDiffusionPipeline in {opener}" in capsys.readouterr().out
    assert main(["bundle", "check", str(copy_of_random_bundle)]) == 0
    change_json(opener / "model_index.json", _class_name="FluxPipeline")
    assert main(["bundle", "check", str(copy_of_random_bundle)]) == 2
    assert "FluxPipeline makes no videos" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["show", "check"])
def test_a_folder_that_is_no_bundle_is_refused(tmp_path, capsys, action):
    assert main(["bundle", action, str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "is not a bundle: there is no model_index.json" in said.out + said.err
    assert main(["bundle", action, "nowhere"]) == 2
    assert "bundle=nowhere is neither a folder nor a shipped bundle" in capsys.readouterr().err
