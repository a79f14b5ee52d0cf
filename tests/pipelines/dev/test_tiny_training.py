"""The training of the shipped weights, with stages of one or two steps."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from longtake.models.stages.bundle import load_bundle
from longtake.models.toy_world.clip_pool import CLOSE
from longtake.pipelines.config.loader import compose
from longtake.pipelines.dev.tiny_training import STAGES, TinyTrainingConf, WeightsBuilder, train
from longtake.pipelines.train.worker_group import WorkerGroup

pytestmark = pytest.mark.xdist_group("training")  # one process: the bundle that they share takes fifteen seconds

LOOP = {"steps": 2, "batch": 2, "gate_every": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def config(folder):
    conf = {
        "work": str(folder / "work"),
        "out": str(folder / "bundle"),
        "tracking": {"enabled": False},
        "vae": {"loop": LOOP, "held_out": 2, "block_out_channels": [8, 8, 8, 8]},
        "clip": {"loop": LOOP, "held_out": 4, "width": 32, "text_layers": 1, "image_layers": 1},
        "base": {"loop": LOOP, "clips": 4, "held_out": 1, "block_out_channels": [16, 32]},
        "memory": {
            "loop": LOOP,
            "clips": 4,
            "held_out": 1,
            "condition_channels": [8, 8, 8, 8],
            "merger_head_dim": 16,
            "base_frozen": False,
        },
        "refiner": {
            "loop": {**LOOP, "batch": 1},
            "clips": 2,
            "held_out": 1,
            "given": 0.5,
            "block_out_channels": [16, 32],
        },
        "decoder": {"loop": LOOP, "held_out": 2, "block_out_channels": [8, 8, 8, 8]},
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


@pytest.fixture(scope="module")
def bundle(config, folder):
    train(str(config), [], None)
    return folder / "bundle"


def test_all_stages_end_in_a_bundle_that_loads(bundle, folder):
    assert load_bundle(bundle).parts["unet"].config.block_out_channels in ([16, 32], (16, 32))
    assert {path.name for path in (folder / "work").iterdir()} >= {
        "vae",
        "clip",
        "base",
        "memory",
        "refiner",
        "decoder",
    }


def test_close_share_reaches_the_pools_and_other_settings_are_another_pool(bundle, config, folder):
    for share in (0, 1):
        conf = compose(
            TinyTrainingConf, config, [f"close_share={share}", f"work={folder / 'close'}", f"start={bundle}"]
        )
        Path(conf.work).mkdir(exist_ok=True)
        pool = WeightsBuilder(conf, WorkerGroup())._pool("test", 12, 2, 32)
        assert ({scene.background for scene in pool.scenes} == set(CLOSE)) is (share == 1)
    assert len(list((folder / "close" / "pools").iterdir())) == 2
    with pytest.raises(ValueError, match=r"close_share=2.0 must be in 0..1"):
        compose(TinyTrainingConf, config, ["close_share=2"])


def test_stages_that_are_done_are_not_trained_again(bundle, config, folder):
    log = (folder / "work" / "refiner" / "log.jsonl").read_text()
    before = load_bundle(bundle).parts["refiner"].state_dict()
    train(str(config), [], ["refiner", "pack"])
    after = load_bundle(bundle).parts["refiner"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len((folder / "work" / "refiner" / "log.jsonl").read_text().splitlines()) == len(log.splitlines()) + 1


def test_training_goes_on_from_a_bundle(bundle, config, folder):
    overrides = [f"start={bundle}", f"work={folder / 'more'}", f"out={folder / 'next'}", "refiner.loop.learning_rate=0"]
    train(str(config), overrides, ["refiner", "pack"])
    old, new = load_bundle(bundle).parts, load_bundle(folder / "next").parts
    name = "conv_in.weight"
    assert torch.allclose(old["refiner"].state_dict()[name], new["refiner"].state_dict()[name], atol=1e-3)
    assert torch.equal(
        old["vae"].state_dict()["encoder.conv_in.weight"], new["vae"].state_dict()["encoder.conv_in.weight"]
    )


def test_a_start_of_another_shape_is_refused(bundle, config, folder):
    overrides = [f"start={bundle}", f"work={folder / 'other'}", "refiner.block_out_channels=[32, 48]"]
    with pytest.raises(ValueError, match=r"start=.*does not fit the configured refiner"):
        train(str(config), overrides, ["refiner"])


def test_a_stage_without_what_it_needs_says_what_to_run(config, folder):
    with pytest.raises(ValueError, match="is missing: run the stage that makes it first"):
        train(str(config), [f"work={folder / 'empty'}"], ["base"])


def test_an_unknown_stage_is_refused(config):
    with pytest.raises(ValueError, match=f"stages=lora must be among {', '.join(STAGES)}"):
        train(str(config), [], ["lora"])


def test_what_was_made_goes_before_what_the_start_lends(bundle, config, folder):
    work = folder / "mixed"
    train(str(config), [f"work={work}", "vae.loop.learning_rate=0.1"], ["vae"])
    made = load_file(work / "bundle" / "vae" / "diffusion_pytorch_model.safetensors")
    overrides = [f"work={work}", f"start={bundle}", "decoder.loop.steps=0"]
    train(str(config), overrides, ["decoder"])
    kept = load_file(work / "bundle" / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(made[name], kept[name]) for name in made)


def test_a_training_is_one_mlflow_run_also_when_it_goes_on(config, folder):
    from mlflow import MlflowClient

    work = folder / "tracked"
    for steps in (2, 4):
        overrides = [
            f"work={work}",
            "tracking.enabled=true",
            "tracking.system_metrics=false",
            "tracking.interval_s=0.2",
        ]
        train(str(config), [*overrides, f"vae.loop.steps={steps}"], ["vae"])
    client = MlflowClient(f"sqlite:///{work}/mlflow.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED" and run.data.tags["kind"] == "train"
    assert {"vae/loss", "vae/gate/psnr_64"} <= set(run.data.metrics)
    assert run.data.params["vae.loop.steps"] == "2" and run.data.tags["changed.vae.loop.steps"] == "4"
