"""A job's folder before and after its run: deletes outdated videos, packs what an interrupted run left, finishes."""

from collections import Counter
from collections.abc import Iterable

from longtake.pipelines.bulk.resume import Resumption
from longtake.pipelines.bulk.settings import BulkConf, Format
from longtake.pipelines.datasets.finished import Digests, digests_of
from longtake.pipelines.datasets.layouts import (
    delete_videos,
    file_of,
    loose_shards,
    missing_in_shards,
    pack_shard,
    write_card,
    write_metadata,
)
from longtake.pipelines.datasets.manifest import Manifest

# The files that Hugging Face's `load_dataset` reads in the folder.
DATA_FILES = {
    Format.MP4: "manifest/*.parquet",
    Format.WEBDATASET: "shards/*.tar",
    Format.VIDEOFOLDER: "videos/**",
}


def forget(manifest: Manifest, found: Resumption) -> None:
    """Deletes the videos that are made again or have no row any more, then the rows of all that is forgotten.

    If the process is killed in between, the next run finds them changed or gone again.
    """
    finished = found.finished
    videos = found.forgotten & ~finished.failed
    if videos.any():
        delete_videos(manifest.store, manifest.having(finished.ids[videos]))
    if found.forgotten.any():
        manifest.forget(finished.ids[found.forgotten])


def lost(manifest: Manifest) -> Digests:
    """Digests of the ids of finished videos without a file, or missing in their shard."""
    paths = {id: path for id, path in manifest.paths().items() if path is not None}
    there = {*manifest.store.list("videos"), *manifest.store.list("shards")} if paths else set()
    gone = [id for id, path in paths.items() if not there & {path.partition("#")[0], file_of(path)}]
    return digests_of([*gone, *missing_in_shards(manifest)])


def unpacked(manifest: Manifest, conf: BulkConf, found: Resumption) -> Counter[int]:
    """The shards that have to be written, with the number of their rows that are not finished."""
    if conf.format is not Format.WEBDATASET:
        return Counter()
    left = found.ordinals[~found.is_kept] // conf.shard_size
    return Counter({**dict.fromkeys(loose_shards(manifest.store), 0), **Counter(left.tolist())})


def finish(manifest: Manifest, conf: BulkConf, shards: Iterable[int]) -> None:
    """Finishes a job whose rows are all finished; usually there is nothing left to do."""
    manifest.compact()
    for shard in shards:
        pack_shard(manifest.store, manifest, shard, conf.shard_size)
    if conf.format is Format.VIDEOFOLDER:
        write_metadata(manifest.store, manifest)
    write_card(manifest.store, manifest, DATA_FILES[conf.format])
