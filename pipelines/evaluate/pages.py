"""Pages: jinja2 templates in `templates/`, in which every value is escaped.

A page needs only the videos that it shows, by relative paths: its folder can be moved, zipped or served.
"""

import math

from jinja2 import Environment, PackageLoader, StrictUndefined

from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.files.store import Store


def number(value: float) -> str:
    """Three significant digits; thousands in full."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


_ENVIRONMENT = Environment(
    loader=PackageLoader("longtake.pipelines.evaluate"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["number"] = number


def render(template: str, **values: object) -> str:
    """The template with these values."""
    return _ENVIRONMENT.get_template(template).render(values)


def copy_video(store: Store, video: Listed, name: str) -> bool:
    """Copies a video to `name` beside the page. False if it no longer exists."""
    try:
        with video.local() as path:
            store.put_file(name, path)
    except (OSError, ValueError):
        return False
    return True
