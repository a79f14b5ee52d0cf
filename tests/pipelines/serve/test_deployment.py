"""The endpoint on a real Ray Serve, through its proxy, with toy stages; and `longtake serve` as a process."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby

import httpx2
import numpy as np
import pytest
import yaml
from openai import OpenAI
from PIL import Image
from websockets.sync.client import connect

from longtake.pipelines.__main__ import main
from longtake.pipelines.serve import deployment as serve
from longtake.pipelines.serve.settings import load_serve
from tests.support.http_kit import TOY, wait_for
from tests.support.places import ROOT
from tests.support.ray_toys import ToyFactory

pytestmark = [pytest.mark.xdist_group("serve"), pytest.mark.filterwarnings("ignore:The Sora API")]
PROMPT = "a large red circle moves right over a plain navy background"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def url(ray_cluster, tmp_path_factory):
    from ray import serve as ray_serve

    conf = load_serve(overrides=[*TOY, f"serve.takes={tmp_path_factory.mktemp('serve')}", f"serve.port={free_port()}"])
    factories = {stage: ToyFactory(stage, rgb=True, seconds=0.05) for stage in ("base", "refiner")}
    serve.start(conf)
    before = httpx2.get(f"{serve.url_of(conf)}/v1/videos")
    serve.run(conf, factories)
    yield serve.url_of(conf)
    ray_serve.delete(serve.NAME)
    for answer in (before, httpx2.get(f"{serve.url_of(conf)}/v1/videos")):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), "without a replica: not Serve's 404"
    ray_serve.shutdown()


@pytest.fixture
def client(url):
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def post(client, num_frames=80, **fields):
    answer = client.post("/v1/videos", json={"prompt": PROMPT, "num_frames": num_frames, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def wait(client, video_id):
    def done():
        video = client.get(f"/v1/videos/{video_id}").json()
        assert video["status"] != "failed", video
        return video["status"] == "completed"

    wait_for(done, 60)


def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"longtake_{name} "))


def idle(client):
    return not any(metric(client, f"{pool}_calls") for pool in ("base", "refiner")) and not metric(client, "running")


def test_the_openai_client_goes_through_the_proxy(url):
    with OpenAI(api_key="none is needed", base_url=f"{url}/v1", max_retries=0) as openai:
        video = openai.videos.create_and_poll(prompt=PROMPT, seconds="4", poll_interval_ms=50)
        assert video.status == "completed"
        assert openai.videos.download_content(video.id).read()[4:8] == b"ftyp"
        assert openai.videos.delete(video.id).deleted


def test_a_stream_comes_piece_by_piece_and_a_late_joiner_gets_the_same(client):
    video_id = post(client, num_frames=120)

    def watch():
        with client.stream("GET", f"/v1/videos/{video_id}/stream") as answer:
            return [(piece, time.monotonic()) for piece in answer.iter_raw() if piece]

    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(watch)
        wait_for(lambda: client.get(f"/v1/videos/{video_id}").json()["progress"] > 40, 30)
        late = pool.submit(watch)
        early, late = early.result(), late.result()
    assert b"".join(piece for piece, _ in early) == b"".join(piece for piece, _ in late)
    assert early[-1][1] - early[0][1] > 0.1
    wait(client, video_id)
    path = f"/v1/videos/{video_id}/stream"
    whole = client.get(path).content
    assert whole == b"".join(piece for piece, _ in early)
    assert client.head(path).headers["content-length"] == str(len(whole))
    part = client.get(path, headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, whole[:8])


@pytest.mark.report("A8")
@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_stream_whose_video_ends_early_is_cut_through_the_proxy_too(client, end):
    video_id = post(client, num_frames=400)
    path = f"/v1/videos/{video_id}"
    with (
        pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"),
        client.stream("GET", f"{path}/stream") as answer,
    ):
        for index, piece in enumerate(answer.iter_raw()):
            assert piece
            if index == 0:
                assert (client.delete(path) if end == "delete" else client.post(f"{path}/cancel")).status_code == 200


def test_events_come_as_they_happen(client):
    video_id = post(client)
    with client.stream("GET", f"/v1/videos/{video_id}/events") as answer:
        found = [(piece, time.monotonic()) for piece in answer.iter_text() if piece]
    assert "event: completed" in found[-1][0] and found[-1][1] - found[0][1] > 0.1


def test_closing_a_sync_request_frees_the_actors_within_two_seconds(client):
    wait_for(lambda: idle(client), 30)
    body = {"prompt": PROMPT, "num_frames": 2000}
    with httpx2.Client(base_url=client.base_url, timeout=60) as gone, gone.stream(
        "POST", "/v1/videos/sync", json=body
    ) as answer:  # fmt: skip
        video_id = answer.headers["longtake-video-id"]
        next(answer.iter_raw())
        wait_for(lambda: not idle(client), 10)  # /metrics may be a moment old
    assert wait_for(lambda: idle(client), 10) < 2
    wait_for(lambda: client.get(f"/v1/videos/{video_id}").status_code == 404, 5)


def test_closing_before_the_first_fragment_frees_the_actors_too(client, url):
    wait_for(lambda: idle(client), 30)
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"prompt": PROMPT, "num_frames": 400}).encode()
    with socket.create_connection((host, int(port))) as raw:
        head = f"POST /v1/videos/sync HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: metric(client, "running"), 10)
    assert wait_for(lambda: idle(client), 10) < 2


def test_a_socket_changes_its_prompt_and_closing_it_frees_the_actors(client, url):
    wait_for(lambda: idle(client), 30)
    with connect(url.replace("http", "ws") + "/v1/stream", max_size=None) as ws:
        ws.send(json.dumps({"type": "start", "prompt": PROMPT, "num_frames": 400}))
        kinds = []
        while "chunk" not in kinds:
            kinds.append(json.loads(ws.recv(30))["type"])
        ws.send(json.dumps({"type": "prompt", "prompt": "a blue square"}))
        changed = None
        while changed is None:
            message = ws.recv(30)
            if isinstance(message, str) and json.loads(message)["type"] == "prompt":
                changed = json.loads(message)
    assert changed["prompt"] == "a blue square"
    assert wait_for(lambda: idle(client), 10) < 2


def test_a_body_without_end_is_refused_before_its_end(client):
    def endless():
        for _ in range(10_000):
            yield b"x" * 1000

    headers = {"Content-Type": "application/json"}
    assert client.post("/login", content=b"x" * 10**6, headers=headers).status_code == 413
    assert client.post("/v1/videos", content=b"x" * 10**7, headers=headers).status_code == 413
    with suppress(httpx2.WriteError, httpx2.RemoteProtocolError):  # closed while it was sent
        assert client.post("/v1/videos", content=endless(), headers=headers).status_code == 413


def test_a_picture_of_some_megabytes_comes_through_the_proxy(client):
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)).save(png, "png")
    files = {"input_reference": ("photo.png", png.getvalue(), "image/png")}
    answer = client.post("/v1/videos", data={"prompt": PROMPT, "num_frames": "8"}, files=files)
    assert answer.status_code == 200, answer.text
    assert len(png.getvalue()) > 4 * 10**6 and answer.json()["input"]["width"] == 1200
    wait(client, answer.json()["id"])


def test_refusals_have_their_form_through_the_proxy_too(client):
    for answer in (
        client.get("/nowhere"),
        client.put("/v1/videos"),
        client.post("/v1/videos", json={}),
        client.post("/v1/videos", json={"prompt": "a " * 500}),
        client.get("/health", headers={"Host": "evil.example"}),
    ):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}, answer.text
    assert client.post("/v1/videos", json={"prompt": "a " * 500}).json()["error"]["param"] == "prompt"


@pytest.mark.report("A6", "A11")
def test_the_proxy_has_the_limits_of_the_front_door_and_no_paths_of_its_own(client):
    for path in ("/-/routes", "/-/healthz"):
        assert (client.get(path).status_code, client.get(path).json()["error"]["code"]) == (404, "not_found")
    assert client.get("/health", headers={"X": "a" * 60_000}).status_code == 200
    for headers in ({"X": "a" * 10**6}, {f"X-{i}": "a" for i in range(100)}):
        answer = client.get("/health", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
    assert client.get("/health", headers={"x-request-timeout-seconds": "0.000001"}).status_code == 200
    assert client.get("/health", headers={b"x-request-id": b"\xff\xfe"}).status_code == 200


@pytest.mark.chaos
def test_a_replica_that_is_killed_is_started_again_and_its_streams_go_on_with_the_same_bytes(client, ray_cluster):
    import ray

    expected_id = post(client, num_frames=160, seed=4)
    wait(client, expected_id)
    expected = client.get(f"/v1/videos/{expected_id}/stream").content

    video_id = post(client, num_frames=160, seed=4)
    found = []
    with pytest.raises(httpx2.HTTPError), client.stream("GET", f"/v1/videos/{video_id}/stream") as answer:
        for piece in answer.iter_raw():
            found.append(piece)
            if len(found) == 1:
                ray.kill(ray.get_actor(*replica()), no_restart=False)

    def back():
        try:
            return client.get("/health").status_code == 200
        except httpx2.HTTPError:
            return False

    wait_for(lambda: not back(), 30)
    wait_for(back, 120)
    wait(client, video_id)
    assert client.get(f"/v1/videos/{video_id}/stream").content == expected
    assert expected.startswith(found[0])


def replica():
    """(name, namespace) of the actor that holds the endpoint."""
    from ray.util import list_named_actors

    (one,) = [actor for actor in list_named_actors(all_namespaces=True) if actor["name"].startswith("SERVE_REPLICA")]
    return one["name"], one["namespace"]


@pytest.fixture
def refused(capsys):
    def run(*argv):
        assert main(["serve", *argv]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("longtake: error: ") and err.count("\n") == 1, err
        return err

    return run


def test_an_impossible_endpoint_is_refused_in_one_line(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"serve.port={port} is not available (Address already in use)" in refused("--port", port)
    assert "name a file of API keys" in refused("--host", "0.0.0.0")
    assert "serve.keys_file=nowhere cannot be read" in refused("serve.keys_file=nowhere")
    (tmp_path / "file").write_text("")
    assert "serve.takes=" in refused("serve.takes=file/takes")
    assert "serve.port=70000" in refused("--port", "70000") or "port=70000" in refused("--port", "70000")
    assert "bundle=nowhere" in refused("bundle=nowhere")
    assert "did you mean" in refused("serve.prot=1")
    # A request that names only a prompt would be refused.
    assert "refiner.width=4096: no side may exceed 2048" in refused("refiner.width=4096")
    assert "base.num_inference_steps=9: must be at most 8 (serve.max_steps)" in refused(
        "base.num_inference_steps=9", "serve.max_steps=8"
    )
    assert "error: even num_frames=1: 128x128 pixels x 3 steps + 64x64 pixels x 8 steps, x 1 frames, are" in refused(
        "serve.max_cost=1"
    )
    assert "cancel_grace_s=-1.0 must be at least 0" in refused("serve.cancel_grace_s=-1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ""),
        ("The deployment failed to start 3 times.", "The deployment failed to start 3 times."),
        ('It failed.\n  File "x.py"\n    raise ValueError(1)\nValueError: keys=x\nRetrying.', "ValueError: keys=x"),
        (
            "ray.exceptions.RayTaskError: a\nRuntimeError: the engine has failed: b",
            "RuntimeError: the engine has failed: b",
        ),
    ],
)
def test_the_exception_of_a_replica_is_found_in_the_messages_of_serve(text, says):
    assert serve.last_exception(text) == says


def test_the_file_for_serve_deploy_builds_the_app(tmp_path):
    from ray.serve.schema import ServeDeploySchema

    deploy = ServeDeploySchema.model_validate(yaml.safe_load((ROOT / "conf" / "serve.yaml").read_text()))
    (application,) = deploy.applications
    assert application.import_path == "longtake.pipelines.serve.deployment:build_app"
    args = {**application.args, "serve": {**application.args["serve"], "takes": str(tmp_path / "takes")}}
    assert serve.build_app(args) is not None
    typed = {"serve": {"takes": str(tmp_path), "max_queued": 3, "cors_origins": ["https://a.b"]}, "serve.port": "81"}
    conf = serve.build_app({**typed, "ray.base.num_actors": 2, "bundle": "tiny"})._bound_deployment.init_args[0]
    assert (conf.serve.max_queued, conf.serve.cors_origins, conf.serve.port) == (3, ("https://a.b",), 81)
    assert conf.ray.base.num_actors == 2
    with pytest.raises(ValueError, match="serve.max_queued=1.5 must be a whole number"):
        serve.build_app({"serve": {"max_queued": 1.5}})
    with pytest.raises(ValueError, match="serve.port=x"):
        serve.build_app({"serve.port": "x"})


def poll(url):
    """The statuses of answers until the port is closed; each 503 in our form."""
    statuses = []
    with suppress(httpx2.TransportError):
        while True:
            answer = httpx2.get(url, timeout=30)
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert answer.json()["error"]["code"] == "service_unavailable" and answer.headers["retry-after"] == "5"
                assert answer.headers["x-content-type-options"] == "nosniff"
            time.sleep(0.02)
    return statuses


# Both signals: `make chaos`.
@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.chaos)]
)
@pytest.mark.slow
@pytest.mark.xdist_group("command")  # a process of its own, as the group of the endpoint is the longest
@pytest.mark.report("A3")
def test_the_command_prints_its_url_alone_serves_and_stops_in_order(tmp_path, number, code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.serve_driver", "0.05", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it is ignored in a background job
    )  # fmt: skip
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.stderr.read()
        with httpx2.Client(base_url=url, timeout=60) as client:
            video_id = post(client, num_frames=17)
            wait(client, video_id)
            unfinished = post(client, num_frames=2000)
        process.send_signal(number)
        told = poll(f"{url}/v1/videos/{video_id}")
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, ""), err
    *said, last = err.splitlines()
    assert last == "longtake: stopped"
    ours = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (what libraries print is in \S+|(starting|loading|saving|stopping) .*)"
    assert [line for line in said if not re.fullmatch(ours, line)] == [], "no warnings of Ray"
    assert [status for status, _ in groupby(told)] in ([200, 503], [503]), "never 404, to the end"
    records = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "takes").rglob("take.json")}
    assert (records[video_id]["status"], records[unfinished]["status"]) == ("completed", "in_progress")
