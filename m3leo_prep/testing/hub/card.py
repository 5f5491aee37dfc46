"""The Hub's look at a dataset card: the YAML block above the text of ``README.md``.

That a licence of no known id is an error, and how it reads, is from
https://github.com/huggingface/huggingface_hub/issues/4218; the fields and their values are those of
https://github.com/huggingface/hub-docs/blob/main/datasetcard.md. What the Hub says of other mistakes is guessed, that
it says something is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import yaml

_LICENCE_IDS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown other
"""
LICENCES = frozenset(_LICENCE_IDS.split())
_TASK_IDS = """
    text-classification token-classification table-question-answering question-answering zero-shot-classification
    translation summarization feature-extraction text-generation fill-mask sentence-similarity text-to-speech
    text-to-audio automatic-speech-recognition audio-to-audio audio-classification voice-activity-detection
    depth-estimation image-classification object-detection image-segmentation text-to-image image-to-text
    image-to-image image-to-video unconditional-image-generation video-classification reinforcement-learning
    robotics tabular-classification tabular-regression tabular-to-text table-to-text multiple-choice text-ranking
    text-retrieval time-series-forecasting text-to-video image-text-to-text visual-question-answering
    document-question-answering zero-shot-image-classification graph-ml mask-generation zero-shot-object-detection
    text-to-3d image-to-3d image-feature-extraction video-text-to-text keypoint-detection any-to-any other
"""
TASKS = frozenset(_TASK_IDS.split())
_EXPONENTS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
SIZES = frozenset({"n<1K", "n>1T", *(f"{low}<n<{high}" for low, high in pairwise(_EXPONENTS))})
_BLOCK = re.compile(r"\A---[\r\n]+(.*?)[\r\n]+---(?:[\r\n]|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a card."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(text: str) -> Findings:
    """Return what the Hub has against a card."""
    found = Findings()
    block = _BLOCK.match(text)
    if block is None:
        found.warnings.append("empty or missing yaml metadata in repo card")
        return found
    try:
        fields = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        found.errors.append(f"YAML metadata is not valid: {error}".replace("\n", " "))
        return found
    if not isinstance(fields, dict):
        found.errors.append('"value" must be of type object')
        return found
    _licence(fields, found)
    _listed(fields, "size_categories", SIZES, found.errors, '"{key}" must be one of [{known}]: {value}')
    unofficial = 'The {key} "{value}" is not in the official list: {known}'
    _listed(fields, "task_categories", TASKS, found.warnings, unofficial)
    for key in ("tags", "task_ids"):
        if any(not isinstance(value, str) for value in _values(fields.get(key, []))):
            found.errors.append(f'"{key}[0]" must be a string')
    if "configs" in fields:
        _configs(fields["configs"], found.errors)
    return found


def _licence(fields: dict[str, Any], found: Findings) -> None:
    if "license" not in fields:
        return
    given = _values(fields["license"])
    if not given or any(value not in LICENCES for value in given):
        found.errors.append(f'"license" must be one of [{", ".join(sorted(LICENCES))}, array]')
    if "other" in given and not fields.get("license_name"):
        found.warnings.append('"license_name" is required when "license" is "other"')


def _listed(fields: dict[str, Any], key: str, known: frozenset[str], notes: list[str], text: str) -> None:
    odd = (value for value in _values(fields.get(key, [])) if value not in known)
    notes += [text.format(key=key, value=value, known=", ".join(sorted(known))) for value in odd]


def _configs(configs: Any, errors: list[str]) -> None:
    """Check the viewer's part: https://huggingface.co/docs/hub/datasets-manual-configuration."""
    if not isinstance(configs, list):
        errors.append('"configs" must be an array')
        return
    names = [config.get("config_name") if isinstance(config, dict) else None for config in configs]
    for number, (config, name) in enumerate(zip(configs, names, strict=True)):
        if not isinstance(name, str):
            errors.append(f'"configs[{number}].config_name" is required')
            continue
        files = config.get("data_files", [])
        for part in files if isinstance(files, list) else [files]:
            is_split = isinstance(part, dict) and isinstance(part.get("split"), str) and "path" in part
            if not is_split and not isinstance(part, str):
                errors.append(f'"configs[{number}].data_files" must name a split and a path')
    if len(set(map(str, names))) < len(names):
        errors.append('"configs" contains a duplicate config_name')


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
