"""What the endpoint says of itself: models, health, metrics; and the cookie for its page."""

import asyncio
import math
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from longtake.pipelines.serve.http.access import COOKIE
from longtake.pipelines.serve.http.dependencies import Owner, TheDesk
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.keys import Keys
from longtake.pipelines.serve.http.request_body import described, read, refusals
from longtake.pipelines.serve.http.request_checks import DEFAULT_SECONDS
from longtake.pipelines.serve.http.schema import Defaults, Health, Limits, LoginRequest, Model, ModelList
from longtake.pipelines.serve.http.video_service import Desk, cut_of, unavailable

router = APIRouter()
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/v1/models", response_model=ModelList, responses=refusals(), tags=["Models"])
async def list_models(desk: TheDesk, owner: Owner) -> ModelList:
    """The one model that is served here, its defaults and its limits."""
    return ModelList(data=[_model(desk)])


@router.get("/v1/models/{model}", response_model=Model, responses=refusals(404), tags=["Models"])
async def retrieve_model(model: str, desk: TheDesk, owner: Owner) -> Model:
    """The model, its defaults and its limits."""
    desk.checker.check_model(model)
    return _model(desk)


@router.get("/health", response_model=Health, responses={503: refusals(503)[503]}, tags=["Service"])
async def health(desk: TheDesk) -> Response:
    """200 when videos can be asked for; 503 while it starts or stops, and when it has failed."""
    if desk.engine.state != "ready":
        refusal = unavailable(desk.engine.state)
        return JSONResponse({"status": desk.engine.state, **refusal.body}, 503, refusal.headers)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "In the text format of Prometheus."}, **refusals()},
    tags=["Service"],
)
async def metrics(desk: TheDesk, owner: Owner) -> Response:
    """How much waits, how much runs, and how busy the actors are."""
    gauges = await asyncio.to_thread(desk.engine.gauges)
    values = {**gauges, "streams": desk.num_streams, "ready": float(desk.engine.state == "ready")}
    return PlainTextResponse(exposition(values), media_type=PROMETHEUS)


@router.post(
    "/login",
    status_code=204,
    responses=refusals(413, 415),
    openapi_extra=described(LoginRequest),
    tags=["Service"],
)
async def login(request: Request) -> Response:
    """The key as a cookie, for the page: a video element cannot send a header. Other sites cannot use it."""
    keys: Keys = request.app.state.keys
    key = (await read(request, LoginRequest)).key
    answer = Response(status_code=204)
    if not keys:
        return answer
    if keys.owner(key) is None:
        raise ApiError(401, "invalid_api_key", "This key is not known.", "key")
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.post("/logout", status_code=204, responses=refusals(), tags=["Service"])
async def logout() -> Response:
    """Forgets the cookie."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return answer


def exposition(values: dict[str, Any]) -> str:
    """Gauges as Prometheus reads them; a mapping is one gauge with a label."""
    lines = []
    for name, value in sorted(values.items()):
        lines.append(f"# TYPE longtake_{name} gauge")
        if isinstance(value, dict):
            lines += [f'longtake_{name}{{pool="{pool}"}} {_number(one)}' for pool, one in sorted(value.items())]
        else:
            lines.append(f"longtake_{name} {_number(value)}")
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else "NaN"


def _model(desk: Desk) -> Model:
    conf, params = desk.conf, desk.conf.serve
    return Model(
        id=desk.checker.model,
        created=desk.checker.created,
        defaults=Defaults(
            seconds=DEFAULT_SECONDS,
            fps=conf.fps,
            width=conf.refiner.width,
            height=conf.refiner.height,
            num_inference_steps=conf.base.num_inference_steps,
            guidance_scale=conf.base.guidance_scale,
            coupling=params.coupling,
            plan=cut_of(conf.plan),
        ),
        limits=Limits(
            max_frames=params.max_frames,
            max_prompt_chars=params.max_prompt_chars,
            max_cues=params.max_cues,
            max_pixels=params.max_pixels,
            max_steps=params.max_steps,
            size_multiple=desk.checker.size_multiple,
        ),
    )
