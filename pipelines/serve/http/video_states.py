"""The answer to a request for what a video does not have: a function of its status.

asked for                    queued, in_progress    completed         failed
its file                     409 video_not_ready    -                 409 video_failed
a part that it lacks         409 video_not_ready    404 not_found     409 video_failed
cancellation                 -                      409 video_finished, both

`video_not_ready` has Retry-After: asking again helps. A video that was deleted or has expired is 404 everywhere.
"""

from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.library.pieces import chunks_of, segments_of
from longtake.pipelines.serve.library.takes import Status, Take

RETRY_S = 2.0
ERROR_STATUS = {"cancelled": 409, "interrupted": 503}  # of a request that waited for the video; else 500


def lacks(take: Take, what: str) -> ApiError:
    """The refusal of `what`, such as "its file" or "segment 3", which the video does not have."""
    if take.is_active:
        message = f"Video {take.id} is {take.status.replace('_', ' ')}: {what} is not ready yet."
        return ApiError(409, "video_not_ready", message, retry_after_s=RETRY_S)
    if take.status is Status.FAILED:
        reason = take.error[1] if take.error else "It failed."
        return ApiError(409, "video_failed", f"Video {take.id} ended before {what} was made. {reason}")
    return ApiError(404, "not_found", f"Video {take.id} no longer has {what}.")


def require_completed(take: Take, what: str, param: str | None = None) -> None:
    """Raises ApiError unless the video has its files. `param` is the field that names the video."""
    if take.status is not Status.COMPLETED:
        refusal = lacks(take, what)
        refusal.param = param
        raise refusal


def require_active(take: Take) -> None:
    """Raises ApiError for a video that has ended."""
    if not take.is_active:
        raise ApiError(409, "video_finished", f"Video {take.id} is already {take.status}.")


def require_part(take: Take, name: str, index: int, num_parts: int) -> None:
    """Raises ApiError 404 for a part that this video will never have."""
    if index >= num_parts:
        raise ApiError(404, "not_found", f"Video {take.id} has {num_parts} {name}s: there is no {name} {index}.")


def num_segments(take: Take) -> int:
    """The number of fragments of the whole video."""
    return len(segments_of(take))


def num_chunks(take: Take) -> int:
    """The number of chunks that the preview shows; the last one may begin after the end of the video."""
    return len(chunks_of(take))


def check_completed(take: Take) -> None:
    """Raises ApiError if the video has failed: a client that waited must not take a part for the whole."""
    if take.error is not None:
        code, message = take.error
        raise ApiError(ERROR_STATUS.get(code, 500), code, message)
