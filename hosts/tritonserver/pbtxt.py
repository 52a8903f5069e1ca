"""The text of config.pbtxt, the server's description of a model."""

import json
from collections.abc import Iterable, Mapping

from pcsr.runtime.devices import parse_device

from .model.contract import INPUTS, OUTPUTS, Tensor


def config_text(name: str, device: str, parameters: Mapping[str, str]) -> str:
    """Writes the configuration of a model.

    Examples:
        >>> from pcsr.tritonserver.pbtxt import config_text
        >>> text = config_text("carn", "cuda:1", {"precision": "fp16"})
        >>> [line for line in text.splitlines() if "KIND" in line]
        ['instance_group [{ kind: KIND_GPU, count: 1, gpus: [1] }]']

    Args:
        name: of the model.
        device: cpu; cuda for one instance on every GPU that the server sees; cuda:N for that one.
        parameters: the texts of `Settings`.
    """
    kind, index = parse_device(device)
    group = "KIND_CPU, count: 1" if kind == "cpu" else "KIND_GPU, count: 1"
    group += "" if index is None else f", gpus: [{index}]"
    # Images on a GPU stay there; on the CPU the server brings them.
    own = {} if kind == "cpu" else {"FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    return "\n".join(
        [
            f"name: {_quoted(name)}",
            'backend: "python"',
            "max_batch_size: 0  # images differ in size; requests are overlapped by the model",
            _ports("input", INPUTS, ", optional: true"),
            _ports("output", OUTPUTS, ""),
            f"instance_group [{{ kind: {group} }}]",
            *(_parameter(key, value) for key, value in (own | dict(parameters)).items()),
            "",
        ]
    )


def _ports(kind: str, tensors: Iterable[Tensor], more: str) -> str:
    lines = (
        f'  {{ name: "{name}", data_type: {data_type}, dims: {list(dims)}{more} }}'
        for name, data_type, dims in tensors
    )
    return f"{kind} [\n" + ",\n".join(lines) + "\n]"


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_quoted(key)}, value: {{ string_value: {_quoted(value)} }} }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
