"""One video of a manifest, made again from its row."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from longtake.models.domain.state import Picture
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.pipelines.config.conf import Conf, load
from longtake.pipelines.config.provenance import recorded_settings, weights_of
from longtake.pipelines.datasets.continued_videos import same_video
from longtake.pipelines.datasets.manifest import FOLDER, Manifest, VideoRow
from longtake.pipelines.datasets.pictures import same_picture
from longtake.pipelines.datasets.request_columns import read_cues
from longtake.pipelines.files.store import Store
from longtake.pipelines.files.video_file import VideoWriter


def find(out: str, video_id: str, overrides: Sequence[str] = ()) -> tuple[VideoRow, Conf]:
    """The row of a video and the configuration that made it; `overrides` may name the present place of its bundle.

    Raises ValueError for an unknown id, for a video that failed, and for a bundle with other weights.
    """
    row = _row(out, video_id)
    if row.status != "done" or row.settings is None:
        raise ValueError(f"id={video_id!r}: its video was never made ({row.reason})")
    settings = recorded_settings(json.loads(row.settings))
    conf = load(overrides=[f"bundle={row.bundle}", *overrides], settings=settings)
    bundle_hash = weights_of(conf)
    if bundle_hash != row.bundle_sha256:
        rule = f"has the hash {bundle_hash[:12]}, but the video was made with {row.bundle_sha256}"
        raise ValueError(f"bundle={conf.bundle} {rule}")
    return row, conf


def _row(out: str, video_id: str) -> VideoRow:
    store = Store(out, patience_s=0)
    try:
        files = store.list(FOLDER)
    except Exception as error:  # unknown protocol, package, bucket, credentials: each library has its own
        raise ValueError(f"manifest={store}: it cannot be read ({str(error) or type(error).__name__})") from error
    if not files:
        raise ValueError(f"manifest={store}: no bulk job has written there")
    return Manifest(store).find(video_id)


def picture_for(row: VideoRow, image: str | None = None) -> Picture | None:
    """The picture that a video begins with, read at `image` if it is not where it was.

    Raises ValueError for one that cannot be read, or is another one.
    """
    if row.image is None and image is not None:
        raise ValueError(f"image={image}: the video id={row.id!r} does not begin with a picture")
    return None if row.image is None else same_picture(image or row.image, row.image_sha256)


def video_for(row: VideoRow, video: str | None = None) -> VideoReader | None:
    """The video that another one continues, read at `video` if it is not where it was.

    Raises ValueError for one that cannot be read, or is another one.
    """
    if row.extends is None and video is not None:
        raise ValueError(f"video={video}: the video id={row.id!r} does not continue one")
    return None if row.extends is None else same_video(video or row.extends, row.extends_sha256)


def remake(
    row: VideoRow, conf: Conf, out: Path, picture: Picture | None = None, video: VideoReader | None = None
) -> bool:
    """Writes the video to `out`; returns whether its bytes are those of the manifest."""
    from longtake.pipelines.api import Longtake, write_mp4  # torch: after the checks

    longtake = Longtake(conf)
    assert row.prompt is not None and row.num_frames is not None and row.seed is not None, "a done video has them"
    negative_prompt, cues = row.negative_prompt or "", read_cues(row.cues)
    if video is None:
        segments = longtake.stream(row.prompt, row.num_frames, row.seed, negative_prompt, cues=cues, image=picture)
        write_mp4(segments, out, conf.fps)
    else:
        num_new, fps = row.num_frames - (row.extends_frames or 0), conf.video.fps or video.fps
        with VideoWriter(out, fps, sound=Sound(video, fps)) as writer:
            for segment in longtake.extend(video, row.prompt, num_new, row.seed, negative_prompt):
                writer.write(segment.frames)
    return sha256(out.read_bytes()).hexdigest() == row.sha256
