"""`longtake bundle show` and `longtake bundle check`: what a folder of weights holds, and what is wrong with it.

`show` reads headers and configs alone, so that it takes a second for any size of weights.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from longtake.models.domain.checks import FieldError
from longtake.models.nets.sizes import SizeRule, frame_sizes, vae_factor
from longtake.models.stages.files import OPENER, REQUIRED_OF_BASE, TEXT_TO_VIDEO, Part, pipeline_class, read_parts
from longtake.models.stages.memory import BYTES, Size, memory_of
from longtake.models.stages.params import BaseParams, base_size, refined_size
from longtake.models.stages.part_checks import DEFAULTS
from longtake.models.stages.weight_files import (
    WITHOUT_WEIGHTS,
    TensorHeader,
    num_parameters,
    read_headers,
    weight_files,
)
from longtake.pipelines.config.bundle_file import NAME, TRAINED, read_bundle_file
from longtake.pipelines.config.conf import Conf, bundle_folder, opener_folder, refiner_folder
from longtake.pipelines.terminal.exit_codes import ExitCode

GAP = "  "


def check(conf: Conf) -> Callable[[], ExitCode | None]:
    """Prints every problem of the bundle and its opener; exit code 2 if there is one.

    Raises ValueError for a folder that is none.
    """
    folder, refiner = bundle_folder(conf), refiner_folder(conf)
    opener = None if conf.opener.model is None else opener_folder(conf)

    def work() -> ExitCode | None:
        from longtake.models.stages.bundle_check import bundle_problems
        from longtake.pipelines.runners.stages import quiet

        quiet()
        problems = bundle_problems(folder, refiner, conf.allow_pickle)
        if opener is not None:
            problems += _opener_problems(opener, conf)
        for problem in problems:
            print(" ".join(problem.split()))
        if problems:
            print(f"{conf.bundle}: {len(problems)} problem{'s' if len(problems) > 1 else ''}")
            return ExitCode.INVALID
        parts = read_parts(folder, refiner, ())
        alone = "" if "refiner" in parts else "; it has no refiner, so it needs refiner.enabled=false or refiner.model"
        print(f"{conf.bundle}: no problem in {len(parts)} parts{alone}")
        return None

    return work


def _opener_problems(folder: Path, conf: Conf) -> list[str]:
    from longtake.models.stages.bundle_check import bundle_problems
    from longtake.models.stages.video_pipeline import VideoPipeline

    try:
        if pipeline_class(folder) in TEXT_TO_VIDEO:
            return bundle_problems(folder, None, conf.allow_pickle)
        VideoPipeline(folder).check(conf.opener, conf.plan.chunk_frames)
    except ValueError as error:
        return [str(error)]
    return []


def show(conf: Conf, size: Size | None, batch: int) -> Callable[[], None]:
    """Prints tables. Raises ValueError for a folder that is no bundle, and for files that cannot be read."""
    if batch < 1:
        raise ValueError(f"--batch {batch}: must be at least 1")
    folder, refiner = bundle_folder(conf), refiner_folder(conf)
    parts, lines = read_parts(folder, refiner, ()), [f"{conf.bundle} in {folder}", ""]
    if conf.opener.model is not None and (kind := pipeline_class(opener_folder(conf))) not in TEXT_TO_VIDEO:
        lines = [lines[0], f"opener: {kind} in {opener_folder(conf)}, which diffusers runs: not counted below", ""]
    elif conf.opener.model is not None:
        opener = read_parts(opener_folder(conf), None, ())
        parts |= {f"{OPENER}{name}": part for name, part in opener.items() if name in REQUIRED_OF_BASE}
    headers = {name: read_headers(part.folder, True) for name, part in parts.items() if has_weights(part)}
    lines += [*_parts(parts, headers, folder), "", *_sizes(parts), ""]
    lines += _memory(conf, parts, headers, _frames(conf, parts, size), batch)
    for place in dict.fromkeys((folder, *(part.folder.parent for part in parts.values()))):
        lines += _origin(place, read_bundle_file(place))
    return lambda: print("\n".join(lines))


def has_weights(part: Part) -> bool:
    return part.kind not in WITHOUT_WEIGHTS


def _parts(parts: dict[str, Part], headers: dict[str, dict[str, TensorHeader]], folder: Path) -> Iterator[str]:
    rows = [("part", "class", "parameters", "dtype", "on disk", "folder")]
    for name, part in parts.items():
        place = str(part.folder.relative_to(folder) if part.folder.is_relative_to(folder) else part.folder)
        if not has_weights(part):
            rows.append((name, part.class_name, "", "", "", place))
            continue
        tensors, files = headers[name], weight_files(part.folder, True)
        dtypes = ", ".join(sorted({tensor.dtype for tensor in tensors.values()}))
        count = f"{num_parameters(tensors):,}" if tensors else "?"
        on_disk = sum(file.stat().st_size for file in files)
        rows.append((name, part.class_name, count, dtypes or "in pickles", _bytes(on_disk), place))
    total = sum(num_parameters(tensors) for tensors in headers.values())
    rows.append(("total", "", f"{total:,}", "", "", ""))
    return _table(rows, right=(2, 4))


def _sizes(parts: dict[str, Part]) -> Iterator[str]:
    """The sizes of frames that the networks take."""
    for stage, rule in _rules(parts).items():
        own = _own_size(parts) if stage == "base" else None
        yield f"legal frames of the {stage}: {rule}{f', {own[1]}x{own[0]} by default' if own else ''}"


def _rules(parts: dict[str, Part]) -> dict[str, SizeRule | None]:
    """The legal sizes of each stage, None for one that is not there."""
    rules: dict[str, SizeRule | None] = {}
    for stage, unet, vaes in (("base", "unet", ("vae",)), ("refiner", "refiner", ("refiner_vae", "vae"))):
        vae = next((parts[name] for name in vaes if name in parts), None)
        network = parts.get(unet)
        rules[stage] = None
        if network is not None and vae is not None:
            rules[stage] = frame_sizes(network.class_name, _config(network), _config(vae))
    return rules


def _config(part: Part) -> dict[str, Any]:
    return {**DEFAULTS[part.kind], **part.config()}


def _own_size(parts: dict[str, Part]) -> Size | None:
    """The size of the base model's frames by its UNet."""
    try:
        return base_size(BaseParams(), parts["unet"].config().get("sample_size"), vae_factor(_config(parts["vae"])))
    except FieldError:
        return None


def _memory(
    conf: Conf, parts: dict[str, Part], headers: dict[str, dict[str, TensorHeader]], sizes: dict[str, Size], batch: int
) -> Iterator[str]:
    parameters = {name: num_parameters(tensors) for name, tensors in headers.items()}
    rows: list[tuple[str, ...]] = [("stage", "frames", "weights", "UNet", "VAE", "together")]
    for stage in memory_of(parts, parameters, conf.plan, sizes, batch, conf.dtype):
        height, width = sizes[stage.name]
        amounts = (_bytes(stage.weights), *(f"about {_bytes(n)}" for n in (stage.unet, stage.vae, stage.total)))
        rows.append((stage.name, f"{width}x{height}", *amounts))
    values = f"dtype={conf.dtype} ({BYTES[conf.dtype]} bytes a value), {batch} predictions at a time"
    yield f"memory with {values}. Weights are counted,"
    yield "what UNet and VAE need on the way is an estimate (models/stages/memory.py); the larger of both is added"
    yield from _table(rows, right=(2, 3, 4, 5))


def _frames(conf: Conf, parts: dict[str, Part], asked: Size | None) -> dict[str, Size]:
    """The frames of each stage for which memory is estimated: the refiner's as asked for, or of the settings."""
    sizes, rules = dict[str, Size](), _rules(parts)
    if rules["base"] is not None:
        own = _own_size(parts) or asked or (0, 0)
        sizes["base"] = conf.base.height or own[0], conf.base.width or own[1]
    if rules["refiner"] is not None:
        sizes["refiner"] = asked or refined_size(conf.refiner, sizes.get("base", (0, 0)), rules["refiner"])
    return sizes


def _origin(folder: Path, about: dict[str, Any]) -> Iterator[str]:
    """The content of a folder's bundle.json."""
    if about:
        yield from ("", f"{folder / NAME}")
    if about.get("sources"):
        yield from ("", "made from")
        for source in about["sources"]:
            yield f"{GAP}{_source(source)}: {', '.join(source.get('parts', []))}"
    if about.get("left_out"):
        yield from ("", f"left out: {len(about['left_out'])} tensors")
        yield from (f"{GAP}{one.get('tensor')}: {one.get('reason')}" for one in about["left_out"])
    if about.get("defaults"):
        yield from ("", "defaults")
        yield from (f"{GAP}{key}={value}" for key, value in about["defaults"].items())
    if about.get("licences"):
        yield from ("", "licences")
        yield from (f"{GAP}{', '.join(one.get('parts', []))}: {one.get('text')}" for one in about["licences"])


def _source(source: dict[str, Any]) -> str:
    if TRAINED in source:
        return f"{source[TRAINED]}{f', begun with {began}' if (began := source.get('from')) else ''}"
    return f"{source.get('file')}, {_bytes(source.get('bytes', 0))}, sha256 {source.get('sha256')}"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield GAP.join(cells).rstrip()
