"""The endpoint's pools, held by a thread of its own: the engine hears all else while they are being built."""

import logging
import threading
from collections.abc import Callable, Mapping

from longtake.actors.pool import Pool
from longtake.pipelines.bulk.settings import hash_of
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import bundle_path
from longtake.pipelines.runners.ray_cluster import Factories, connect, pools
from longtake.pipelines.runners.stages import stage_factories
from longtake.pipelines.serve.library.take_files import TakeFilesFactory
from longtake.pipelines.serve.settings import ServeConf

logger = logging.getLogger(__name__)
JOIN_S = 10.0

Ready = Callable[[Mapping[str, Pool], str], None]


class PoolHolder:
    """Calls `ready(pools, hash of the bundle)` when they are proven, or `failed(reason)`; both from its own thread."""

    def __init__(
        self, conf: ServeConf, store: Store, factories: Factories | None, ready: Ready, failed: Callable[[str], None]
    ) -> None:
        """`factories` stand in for the bundle's stages in tests."""
        self._conf, self._store, self._factories, self._ready, self._failed = conf, store, factories, ready, failed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="engine-pools", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the actors. Those that are still being built end by themselves when they are."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def _hold(self) -> None:
        try:
            connect(self._conf.ray)
            bundle_sha256 = hash_of(bundle_path(self._conf.bundle))
            stages: Factories = self._factories or stage_factories(self._conf)
            with pools(self._conf.ray, {**stages, "writer": TakeFilesFactory(self._store)}) as made:
                self._ready(made, bundle_sha256)
                self._over.wait()
        except Exception as error:
            logger.exception("the pools cannot be had")
            self._failed(str(error))
