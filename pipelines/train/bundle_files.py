"""The files of a trained part, as a bundle holds them, and what bundle.json says of it."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from longtake.pipelines.config.bundle_file import NAME, TRAINED, read_bundle_file


def copy_as_float16(part: Path, folder: Path) -> None:
    """Copies the files of a part to `folder`, weights in float16."""
    for file in sorted(part.iterdir()):
        if file.suffix == ".safetensors":
            halved = {key: tensor.half() for key, tensor in load_file(file).items()}
            save_file(halved, folder / file.name, metadata={"format": "pt"})
        elif file.name == "config.json":  # without the folder of the training
            config = {key: value for key, value in json.loads(file.read_text()).items() if key != "_name_or_path"}
            (folder / file.name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        else:
            shutil.copy(file, folder / file.name)


def record_training(bundle: Path, trained: Sequence[str], anew: Collection[str], about: str) -> None:
    """Writes to the bundle.json of a copied bundle, if it has one, where its `trained` parts come from now.

    `about` is the training in words. The parts `anew` owe nothing to the files that were there before; the others
    began with them, so that their licences still hold.
    """
    record = read_bundle_file(bundle)
    if not record:
        return
    before = record.get("sources", [])
    sources = [*_without(before, trained), *({TRAINED: about, "parts": [part]} for part in trained if part in anew)]
    for part in (part for part in trained if part not in anew):
        sources.append({TRAINED: about, "parts": [part], **_origin(before, part)})
    licences = list(_without(record.get("licences", []), anew))
    content = {**record, "sources": sources, "licences": licences}
    (bundle / NAME).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _without(entries: Sequence[Mapping[str, Any]], parts: Collection[str]) -> Iterator[dict[str, Any]]:
    """The entries as far as they are about other parts."""
    for entry in entries:
        left = [part for part in entry.get("parts", ()) if part not in parts]
        if left or not entry.get("parts"):
            yield {**entry, "parts": left} if left else dict(entry)


def _origin(sources: Sequence[Mapping[str, Any]], part: str) -> dict[str, Any]:
    """The files that a part began with, through any number of trainings."""
    files = [source.get("from", source.get("file")) for source in sources if part in source.get("parts", ())]
    return {"from": ", ".join(files)} if all(files) and files else {}
