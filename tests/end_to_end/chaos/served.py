"""`longtake serve` in a process of its own, on stages whose frames reveal every mistake, and ways to kill parts of it.

python -m tests.end_to_end.chaos.served SECONDS key=value ...
"""

import os
import subprocess
import sys
import threading
from collections import deque

import httpx2
import psutil

from longtake.pipelines.__main__ import main
from longtake.pipelines.runners.ray_cluster import POOL
from longtake.pipelines.serve import deployment as serve
from tests.pipelines.runners.test_local import NUM_STEPS
from tests.support.engine_toys import HIGH, linked
from tests.support.places import ROOT

SIZE = (f"refiner.num_inference_steps={NUM_STEPS}", f"refiner.height={HIGH}", f"refiner.width={HIGH}")


class Service:
    """A process tree: the command, Ray, the replica, the actors."""

    def __init__(self, folder, seconds, *overrides):
        """`seconds` is the duration of a call of a stage."""
        self.folder = folder
        self._arguments = (str(seconds), f"serve.takes={folder}/takes", *overrides)
        self._port = "0"
        self.stderr = deque(maxlen=200)
        self.start()

    def start(self):
        """Starts it and waits until it is ready; a restart uses the same port."""
        env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        env.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", "tests.end_to_end.chaos.served", *self._arguments, "--port", self._port]
        self._process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        threading.Thread(target=lambda: self.stderr.extend(self._process.stderr), daemon=True).start()
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.kill()
            raise AssertionError(f"it did not start: {''.join(self.stderr)}")
        self._port = self.url.rpartition(":")[2]

    def client(self):
        return httpx2.Client(base_url=self.url, timeout=120)

    def actors(self, pool):
        return [one for one in self._tree() if _environ(one).get(POOL) == pool]

    @property
    def replica(self):
        (one,) = [one for one in self._tree() if "ServeReplica:longtake" in _title(one)]
        return one

    def is_ready(self):
        try:
            return httpx2.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def kill(self):
        """Kills the whole tree at once, like a power failure."""
        if self._process.poll() is not None:  # it has ended, and its Ray too
            return
        processes = self._tree()
        for one in processes:
            try:
                one.kill()
            except psutil.NoSuchProcess:  # it ended with another process
                continue
        psutil.wait_procs(processes, 30)
        self._process.wait(30)

    def _tree(self):
        command = psutil.Process(self._process.pid)
        return [command, *command.children(recursive=True)]


def _title(process):
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _environ(process):
    try:
        return process.environ()
    except psutil.NoSuchProcess:
        return {}


def serve_linked(conf):
    SERVE_FOREVER(conf, linked(seconds=float(sys.argv[1])))


if __name__ == "__main__":
    SERVE_FOREVER, serve.serve_forever = serve.serve_forever, serve_linked
    sys.exit(main(["serve", *SIZE, *sys.argv[2:]]))
