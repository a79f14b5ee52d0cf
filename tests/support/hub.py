"""A model hub of ours on loopback: what huggingface_hub asks of one, for repositories that are folders."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.places import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`asked` has the paths of all requests, in order."""

    def __init__(self, url: str, asked: list[str]) -> None:
        self.url, self.asked = url, asked

    @property
    def fetched(self) -> list[str]:
        """The files that were sent."""
        sent = [path.split("/resolve/")[1] for path in self.asked if path.startswith("GET ") and "/resolve/" in path]
        return sorted({path.split("/", 1)[1] for path in sent})


@contextmanager
def hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    """Serves folders by the names of their repositories; each has one commit, which is `main` and `v1`."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            words = path.strip("/").split("/")
            api = words[:2] == ["api", "models"]
            owner, name, *rest = words[2:] if api else words
            folder = repositories.get(f"{owner}/{name}")
            if folder is None:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            revision = rest[1] if len(rest) > 1 else "main"
            if revision not in ("main", "v1", COMMIT):
                return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
            if api:
                content = tree(folder) if rest[:1] == ["tree"] else info(folder, f"{owner}/{name}")
                return self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, body)
            file = folder.joinpath(*rest[2:])
            if not file.is_file():
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            content = file.read_bytes()
            tag = {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self._send(200, content, tag, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def files_of(folder: Path) -> dict[str, Path]:
    return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}


def info(folder: Path, name: str) -> dict[str, object]:
    files = files_of(folder)
    siblings = [{"rfilename": path, "size": file.stat().st_size, "blobId": oid(file)} for path, file in files.items()]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}


def tree(folder: Path) -> list[dict[str, object]]:
    files = files_of(folder)
    return [{"type": "file", "path": p, "size": f.stat().st_size, "oid": oid(f)} for p, f in files.items()]


def oid(file: Path) -> str:
    return sha1(file.read_bytes()).hexdigest()


def into_cache(folder: Path, cache: Path, name: str) -> Path:
    """The folder as a snapshot of huggingface_hub's cache: links to blobs."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs").mkdir()
    for path, file in files_of(folder).items():
        blob = repository / "blobs" / oid(file)
        blob.write_bytes(file.read_bytes())
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def python(code: str, cache: Path, url: str | None) -> "subprocess.CompletedProcess[str]":
    """Runs `code` in a process of its own: huggingface_hub reads its settings when it is imported."""
    keep = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_ENDPOINT")}
    place = {"HF_HUB_OFFLINE": "1"} if url is None else {"HF_ENDPOINT": url}
    env = {**keep, **place, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache.parent), "PYTHONPATH": str(ROOT)}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
