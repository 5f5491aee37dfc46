"""The sections of a card for those who use the dataset: how to load it, how to cite it."""

from __future__ import annotations

import json
import re
import shlex

from m3leo_prep.core.defaults import COUNTED
from m3leo_prep.publish.description.card.about import About
from m3leo_prep.publish.description.card.head import pretty_name
from m3leo_prep.publish.description.card.words import escaped


def loading(about: About) -> str:
    """Return how the dataset is loaded: for training, in xarray, and in part."""
    root, layers = about.root, about.figures.layers
    inputs = [_key(about, one.name) for one in layers if one.role == "input"] or [_key(about, layers[0].name)]
    labels = [_key(about, one.name) for one in layers if one.role == "label"]
    split = _split(about)
    unit = about.manifest["layers"][inputs[0].partition(".")[0]]["arrays"][0]["unit"]
    unit = {"1": "no unit", "class": "codes"}.get(unit, unit)
    arguments = [f"layers={_list(inputs[:3])}"]
    arguments += [f"labels={_list(labels[:1])}"] if labels else []
    arguments += [f'split="{split}"'] if split else []
    first = layers[0].name
    extras = "torch,hub" if about.hub_name else "torch,remote" if about.target else "torch"
    lines = [
        f"import m3leo_prep as mp  # pip install 'm3leo-prep[{extras}]'",
        "",
        f"root = {_text(root)}",
        f"chips = mp.ChipDataset(root, {', '.join(arguments)})",
        f'values, valid = chips[0]["{inputs[0]}"], chips[0]["{inputs[0]}_mask"]  # {unit}; True where valid',
    ]
    plain = [f'import xarray as xr\n\nxr.open_zarr({_text(f"{root}/chips.zarr")}, group="{first}", chunks=None)']
    if about.hub_name:
        revision = f", revision={_text(about.hub_revision)}" if about.hub_revision else ""
        call = f'datasets.load_dataset("{about.hub_name}", "chips"{revision})'
        plain.append(f'import datasets\n\n{call}  # or "previews"')
    test = " --split test" if any("test" in one.chips and one.column == "split" for one in about.figures.splits) else ""
    pull = f"m3leo-prep pull {shlex.quote(root)} {_slug(about)}{test} --layers {first}"
    made = ["## Loading", _code("python", "\n".join(lines)), "Or without this package:"]
    made += [_code("python", text) for text in plain]
    made += ["A part of it, into a folder:", _code("shell", pull)]
    return "\n\n".join(made)


def _split(about: About) -> str:
    """Return the split to train on; empty where there is none."""
    return next(
        (name for one in about.figures.splits if one.column == "split" for name in one.chips if name == "train"), ""
    )


def _key(about: About, layer: str) -> str:
    """Return how ``ChipDataset`` names a layer, or the first of its variables where it has several."""
    arrays = [array for array in about.manifest["layers"][layer]["arrays"] if array.get("method") != COUNTED]
    return layer if len(arrays) == 1 else f"{layer}.{arrays[0]['name']}"


def _list(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _slug(about: About) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(about.manifest["name"]).lower()).strip("-") or "dataset"


def bibtex(about: About) -> str:
    """Return the dataset's BibTeX entry; it has no year, which the publisher's platform knows."""
    owner = about.hub_name.partition("/")[0]
    fields = {
        "title": f"{{{_tex(pretty_name(about.manifest))}}}",
        "author": f"{{{owner}}}" if owner else "",
        "howpublished": f"\\url{{{page}}}" if (page := about.hub_page or about.target) else "",
        "note": f"Dataset {about.manifest['dataset_id']}, content {about.digest[:16]}, made with m3leo-prep "
        f"{about.figures.overview.libraries.get('m3leo-prep', '')}".strip(),
    }
    body = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items() if value)
    return f"@misc{{{_slug(about)},\n{body}\n}}"


def _tex(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    known = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return re.sub(r"[\\~^&%$#_{}]", lambda sign: known.get(sign[0], f"\\{sign[0]}"), " ".join(text.split()))


def citation(about: About) -> str:
    """Return how to cite the dataset and what it was made of."""
    made = ["## Citation", _code("bibtex", bibtex(about))]
    inputs = dict.fromkeys(layer.citation for layer in about.figures.layers if layer.citation)
    if inputs:
        made.append("And what it was made of:\n\n" + "\n".join(f"- {escaped(one)}" for one in inputs))
    return "\n\n".join(made)
