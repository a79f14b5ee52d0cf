"""The OpenAPI document: no request that it allows or forbids causes an internal error."""

import json
import re
import time
from contextlib import suppress
from unittest import SkipTest

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from longtake.pipelines.serve.http.schema import VideoRequest
from tests.support.http_kit import PROMPT, running

pytestmark = pytest.mark.xdist_group("serve")
ENDLESS = ("/v1/videos/sync",)  # its responses last as long as a video takes, so it has its own test
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def kit(ray_cluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    limits = ("serve.max_frames=40", "serve.requests_per_minute=1000000", "serve.max_queued=4")
    with running(folder, *limits) as kit:
        yield kit


@pytest.fixture(scope="module")
def document(kit):
    return httpx2.get(f"{kit.url}/openapi.json").json()


@pytest.mark.parametrize("mode", GenerationMode)
def test_no_request_from_schemathesis_causes_an_internal_error(kit, mode):
    schema = schemathesis.openapi.from_url(f"{kit.url}/openapi.json").exclude(path=list(ENDLESS))
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @FEW
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            nonlocal count
            count += 1
            response = case.call(timeout=60)
            case.validate_response(response, checks=[not_a_server_error])
            if response.status_code >= 400 and response.request.method != "HEAD":
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}

        with suppress(Unsatisfiable, SkipTest):  # an operation without parameters has no invalid request
            ask()
    assert count > 300


def test_every_operation_is_described_and_has_the_form_of_refusals(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            at = f"{method} {path}"
            assert operation["description"] and operation["tags"], at
            assert "422" not in operation["responses"], at
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorBody"}, at


def test_every_reference_of_the_document_leads_somewhere(document):
    for name in set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document))):
        assert name in document["components"]["schemas"], name


def test_every_field_of_a_request_is_described(document):
    fields = document["components"]["schemas"]["VideoRequest"]["properties"]
    assert set(fields) == set(VideoRequest.model_fields)
    assert all("description" in field for field in fields.values()), fields


FIELDS = st.fixed_dictionaries(
    {"prompt": st.just(PROMPT) | st.text(max_size=30)},
    optional={
        "num_frames": st.integers(-1, 41),
        "seconds": st.sampled_from(["0", "0.2", "4", "x"]),
        "fps": st.integers(0, 241),
        "size": st.sampled_from(["32x32", "16x48", "0x0", "9x9"]),
        "seed": st.integers(-1, 2**63),
        "guidance_scale": st.floats(0, 101),
        "coupling": st.sampled_from(["causal", "symmetric", ""]),
        "negative_prompt": st.text(max_size=10),
    },
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(fields=FIELDS)
def test_accepted_requests_are_made_and_others_refused(kit, fields):
    with kit.client() as client:
        answer = client.post("/v1/videos", json=fields)
        assert answer.status_code in (200, 400, 429), answer.text
        if answer.status_code == 200:
            video_id = answer.json()["id"]
            until = time.monotonic() + 60
            while (video := client.get(f"/v1/videos/{video_id}").json())["status"] in ("queued", "in_progress"):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert video["status"] == "completed", (fields, video)
            client.delete(f"/v1/videos/{video_id}")
