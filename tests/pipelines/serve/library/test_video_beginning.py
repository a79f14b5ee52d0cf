"""Takes that begin with a file of a client, when the engine stops or the file is gone. Base and refiner are toys.

Writers resize frames, and so import torch, which takes seconds.
"""

from dataclasses import replace
from functools import cache

import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.fit import Fit
from longtake.pipelines.serve.library.input_store import keep_input
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.paths import CLIP, PICTURE, SOURCE, chunk_name, fragment_name
from longtake.pipelines.serve.library.pieces import chunks_of, segments_of
from longtake.pipelines.serve.library.resume_plan import next_window, num_reached, old_boundaries, shape_of
from tests.pipelines.serve.engine.test_engine import finished, made, path_of, running, until
from tests.support.engine_driver import conf_of, take_of
from tests.support.engine_toys import LOW
from tests.support.videos import noise, video

pytestmark = pytest.mark.xdist_group("serve")
BASE = (f"base.height={LOW}", f"base.width={LOW}")


PARAMS = [PlanParams(), PlanParams(16, 6, 30, 10), PlanParams(16, 12, 24, 8)]


def causal_shape(take):
    conf = conf_of("takes")
    return shape_of(take, replace(conf, plan=take.plan, refiner=replace(conf.refiner, coupling=Coupling.CAUSAL)))


@cache
def source_of(num_old):
    """A video. It is encoded once: x264's several threads do not give the same bytes each time."""
    return video(noise(num_old, 24, 32), rate=12).getvalue()


def continued(num_old=40, more=40):
    """(A take that continues a video, the video)."""
    data = source_of(num_old)
    size = {"num_bytes": len(data), "width": 32, "height": 24}
    source = InputFile(kind=InputKind.VIDEO, num_frames=num_old, fps="12", **size)
    return take_of(num_old + more, fit=Fit.STRETCH, input=source), data


def submitted(engine, takes, take, data):
    keep_input(takes.store, take, data)
    return engine.submit(take)


@pytest.fixture(scope="module")
def undisturbed(ray_cluster, tmp_path_factory):
    """The files of the continuation when nothing happens."""
    with running(tmp_path_factory.mktemp("undisturbed"), *BASE) as (engine, takes):
        take = finished(takes, submitted(engine, takes, *continued()))
        assert take.error is None and take.size_bytes > take.input.num_bytes
        yield made(takes, take)


@pytest.mark.parametrize("lost", [(CLIP, chunk_name(3)), (fragment_name(0),)])
def test_a_continuation_survives_a_restart_and_damage_to_the_files_of_its_video(undisturbed, tmp_path, lost):
    """No model can make the frames of the video: they are read from it again."""
    with running(tmp_path, *BASE, seconds=0.2) as (engine, takes):
        take = submitted(engine, takes, *continued())
        until(lambda: path_of(takes, take, CLIP).exists())
        until(lambda: takes.get(take.id).started_at is not None)
    for file in (path_of(takes, take, name) for name in lost):
        if file.suffix == ".npz":
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"damaged")
        else:
            file.unlink()
    with running(tmp_path, *BASE) as (_, takes):
        assert finished(takes, take).error is None
        assert made(takes, take) == undisturbed


@pytest.mark.parametrize("name", [PICTURE, SOURCE])
@pytest.mark.parametrize("data", [None, b"damaged"])
def test_a_file_that_cannot_be_read_any_more_fails_its_take_with_the_reason(ray_cluster, tmp_path, name, data):
    take, _ = continued()
    if name == PICTURE:
        take = take_of(17, input=replace(take.input, kind=InputKind.IMAGE, num_frames=1, fps=""))
    with running(tmp_path, *BASE) as (engine, takes):
        take = engine.submit(take) if data is None else submitted(engine, takes, take, data)
        code, message = finished(takes, take).error
    assert code == "generation_failed"
    what = "the picture that the video begins with" if name == PICTURE else "the video that is continued"
    assert message.startswith(f"{what} {'is no longer there' if data is None else 'cannot be read: '}")


@pytest.mark.parametrize("num_old", [8, 13, 24, 30, 40, 95])
@pytest.mark.parametrize("params", PARAMS)
def test_viewers_count_from_the_first_frame_of_the_video(num_old, params):
    take = replace(continued(16)[0], plan=params)
    take = replace(take, num_frames=num_old + 40, input=replace(take.input, num_frames=num_old))
    segments, chunks = segments_of(take), chunks_of(take)
    assert [frame for span in segments for frame in span] == list(range(num_old + 40))
    assert chunks[0].start == 0 and all(span for span in (*segments, *chunks)) and chunks[-1].stop >= num_old + 40
    shape = causal_shape(take)
    assert shape.num_fragments == len(segments)
    assert [shape.shown(span) for span in shape.plan.segments[shape.num_skipped :]] == segments
    extension = Extension(num_old, 40, params)
    own = shape.own_files(shape.first_window)
    assert next_window(shape, []) == next_window(shape, own) == extension.window
    assert num_reached(shape, []) == extension.num_own_chunks
    assert set(shape.basis(shape.first_window)) <= set(own)


@pytest.mark.parametrize("num_old", range(16, 45, 3))
@pytest.mark.parametrize("params", PARAMS)
def test_after_any_fragment_a_continuation_resumes_from_its_clip_or_from_chunks_that_are_kept(num_old, params):
    take = replace(continued(16)[0], plan=params)
    shape = causal_shape(replace(take, num_frames=num_old + 60, input=replace(take.input, num_frames=num_old)))
    files = shape.own_files(shape.first_window)
    for window in range(shape.first_window, shape.num_windows):
        files += [chunk_name(chunk) for chunk in shape.plan.chunks_of(window) if chunk >= shape.first_kept]
        files += [*shape.boundaries(window), shape.fragment(window)]
        assert set(shape.basis(window + 1)) <= set(files)
        files = [name for name in files if name not in old_boundaries(shape, files)]
        if window + 1 < shape.num_windows:
            again = next_window(shape, files)
            assert again == shape.start(window + 1) and set(shape.own_files(again)) <= set(files)
            assert again == window + 1 or CLIP in files
    assert next_window(shape, files) == shape.num_windows and CLIP not in files
