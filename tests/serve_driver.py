"""`longtake serve` on toy stages as a process of its own: `python -m tests.serve_driver SECONDS key=value ...`."""

import sys

from pipelines import serve
from pipelines.__main__ import main
from tests.http_kit import TOY
from tests.ray_toys import ToyFactory

serve_forever = serve.serve_forever


def serve_toys(conf):
    seconds = float(sys.argv[1])
    serve_forever(conf, {stage: ToyFactory(stage, rgb=True, seconds=seconds) for stage in ("base", "refiner")})


if __name__ == "__main__":
    serve.serve_forever = serve_toys
    sys.exit(main(["serve", *TOY, *sys.argv[2:]]))
