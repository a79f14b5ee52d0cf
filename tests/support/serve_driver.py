"""`longtake serve` on toy stages: `python -m tests.support.serve_driver SECONDS key=value ...`."""

import sys

from longtake.pipelines.__main__ import main
from longtake.pipelines.serve import deployment as serve
from tests.support.http_kit import TOY
from tests.support.ray_toys import ToyFactory

serve_forever = serve.serve_forever


def serve_toys(conf):
    seconds = float(sys.argv[1])
    serve_forever(conf, {stage: ToyFactory(stage, rgb=True, seconds=seconds) for stage in ("base", "refiner")})


if __name__ == "__main__":
    serve.serve_forever = serve_toys
    sys.exit(main(["serve", *TOY, *sys.argv[2:]]))
