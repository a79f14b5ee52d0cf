"""Routes about the endpoint itself: models, health, metrics, and the cookie for its page."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from longtake.pipelines.serve.engine import metrics as engine_metrics
from longtake.pipelines.serve.http.access import COOKIE
from longtake.pipelines.serve.http.dependencies import Owner, Service
from longtake.pipelines.serve.http.errors import ApiError, unavailable
from longtake.pipelines.serve.http.keys import Keys
from longtake.pipelines.serve.http.openapi import body_of, refusals
from longtake.pipelines.serve.http.request_body import read_body
from longtake.pipelines.serve.http.request_checks import DEFAULT_SECONDS
from longtake.pipelines.serve.http.schema import Defaults, Health, Limits, LoginRequest, Model, ModelList
from longtake.pipelines.serve.http.video_service import VideoService, plan_sizes

router = APIRouter()
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
DESCRIPTIONS = {
    **engine_metrics.DESCRIPTIONS,
    "streams": "Open connections that receive bytes or events.",
    "ready": "1 when the endpoint accepts videos.",
}


@router.get("/v1/models", response_model=ModelList, responses=refusals(), tags=["Models"])
async def list_models(service: Service, owner: Owner) -> ModelList:
    """The one model that is served here, its defaults and its limits."""
    return ModelList(data=[_model(service)])


@router.get("/v1/models/{model}", response_model=Model, responses=refusals(404), tags=["Models"])
async def retrieve_model(model: str, service: Service, owner: Owner) -> Model:
    """The model, its defaults and its limits."""
    service.checker.check_model(model)
    return _model(service)


@router.get("/health", response_model=Health, responses={503: refusals(503)[503]}, tags=["Service"])
async def health(service: Service) -> Response:
    """200 when the endpoint accepts videos; 503 while it starts or stops, and after it has failed."""
    if service.engine.state != "ready":
        refusal = unavailable(service.engine.state)
        return JSONResponse({"status": service.engine.state, **refusal.body}, 503, refusal.headers)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"description": "Gauges in the text format of Prometheus."}, **refusals()},
    tags=["Service"],
)
async def metrics(service: Service, owner: Owner) -> Response:
    """The numbers of videos that wait and run, and how busy the actors are."""
    gauges = await asyncio.to_thread(service.engine.gauges)
    values = {**gauges, "streams": service.places.num_open, "ready": float(service.engine.state == "ready")}
    registry = CollectorRegistry()  # the process's own would add metrics of Ray
    for name, value in values.items():
        Gauge(f"longtake_{name}", DESCRIPTIONS[name], registry=registry).set(value)
    return PlainTextResponse(generate_latest(registry), media_type=PROMETHEUS)


@router.post(
    "/login",
    status_code=204,
    responses=refusals(413, 415),
    openapi_extra=body_of(LoginRequest),
    tags=["Service"],
)
async def login(request: Request) -> Response:
    """Sets the key as a cookie for the page: a video element cannot send a header. Other sites cannot use it."""
    keys: Keys = request.app.state.keys
    key = (await read_body(request, LoginRequest)).key
    response = Response(status_code=204)
    if not keys:
        return response
    if keys.owner(key) is None:
        raise ApiError(401, "invalid_api_key", "Unknown API key.", "key")
    secure: bool = request.state.is_https
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure, path="/")
    return response


@router.post("/logout", status_code=204, responses=refusals(), tags=["Service"])
async def logout() -> Response:
    """Deletes the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return response


def _model(service: VideoService) -> Model:
    conf, params, limits = service.conf, service.conf.serve, service.checker.limits
    (height, width), (base_height, base_width) = conf.refiner.size, limits.base_sizes.size(conf.base)
    return Model(
        id=service.checker.model,
        created=service.checker.created,
        defaults=Defaults(
            seconds=DEFAULT_SECONDS,
            fps=conf.fps,
            width=width,
            height=height,
            fit=conf.refiner.fit,
            base_width=base_width,
            base_height=base_height,
            num_inference_steps=conf.base.num_inference_steps,
            guidance_scale=conf.base.guidance_scale,
            coupling=params.coupling,
            plan=plan_sizes(conf.plan),
        ),
        limits=Limits(
            max_frames=params.max_frames,
            max_prompt_chars=params.max_prompt_chars,
            max_cues=params.max_cues,
            max_pixels=params.max_pixels,
            max_side=params.max_side,
            max_aspect=params.max_aspect,
            max_steps=params.max_steps,
            max_cost=params.max_cost,
            height=limits.sizes.height,
            width=limits.sizes.width,
            base_height=limits.base_sizes.rule.height,
            base_width=limits.base_sizes.rule.width,
        ),
    )
