"""Start of the endpoint's pools, in a thread of its own: the engine answers meanwhile."""

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from longtake.actors.pool import Pool
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.model_folders import weights_hash
from longtake.pipelines.runners.ray_cluster import Factories, connect, pools
from longtake.pipelines.runners.stages import stage_factories
from longtake.pipelines.serve.library.take_writer import TakeWriter
from longtake.pipelines.serve.settings import ServeConf

logger = logging.getLogger(__name__)
JOIN_S = 10.0

Ready = Callable[[Mapping[str, Pool], str], None]


class PoolStartup:
    """Calls `ready(pools, hash of the bundle)` when they are proven, or `failed(reason)`; both from its own thread."""

    def __init__(
        self, conf: ServeConf, store: Store, factories: Factories | None, ready: Ready, failed: Callable[[str], None]
    ) -> None:
        """In tests `factories` replace the bundle's stages."""
        self._conf, self._store, self._factories, self._ready, self._failed = conf, store, factories, ready, failed
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine-pools", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the actors. Those that are still being built end by themselves afterwards."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            connect(self._conf.ray)
            bundle_sha256 = weights_hash(self._conf)
            stages: Factories = self._factories or stage_factories(self._conf)
            with pools(self._conf.ray, {**stages, "writer": partial(TakeWriter, self._store)}) as proven:
                self._ready(proven, bundle_sha256)
                self._closed.wait()
        except Exception as error:
            logger.exception("the pools cannot start")
            self._failed(str(error))
