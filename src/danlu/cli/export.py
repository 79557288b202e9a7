"""danlu export MODEL --to hf                       a directory for transformers and vLLM
danlu export MODEL tiny.gguf --to gguf --type q4_k --verify
danlu export runs/lora OUT --to ollama --type q8_0    then: ollama create NAME -f OUT/Modelfile
danlu export MODEL OUT --to compressed-tensors --method int4 --group 32 --verify "Once upon a time\""""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

HELP = "write a model for transformers, vLLM, llama.cpp or Ollama, and compare it there"
DTYPES = ("fp32", "fp16", "bf16")
SETTINGS = ("type", "method", "group")
"""Arguments that are settings of some forms."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run, a GGUF file, a hub id, an adapter")
    parser.add_argument("out", nargs="?", metavar="OUT", help="what to write (MODEL's name and the form's, here)")
    parser.add_argument("--to", required=True, metavar="FORM", help="hf, compressed-tensors, gguf, ollama")
    parser.add_argument("--type", metavar="NAME", help="gguf, ollama: f32, f16, bf16, q8_0, q4_0, q4_k (as stored)")
    parser.add_argument("--method", metavar="NAME", help="compressed-tensors: int8, int4, w8a8 (int8)")
    parser.add_argument("--group", type=int, metavar="N", help="compressed-tensors: weights that share a scale")
    parser.add_argument("--base", metavar="DIR", help="of an adapter: where its base lies now")
    parser.add_argument("--dtype", choices=DTYPES, help="of weights that are not quantized (as stored)")
    parser.add_argument(
        "--verify", nargs="?", const="Once upon a time", metavar="PROMPT",
        help="open it with its consumer and compare ids, laws, greedy text, conversations and stops",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="also where OUT holds something")


def run(args: argparse.Namespace) -> None:
    import torch

    from ..assembly.exporting import export
    from ..assembly.exports import EXPORTS

    kinds = dict(zip(DTYPES, (torch.float32, torch.float16, torch.bfloat16), strict=True))
    form = EXPORTS[args.to](**_settings(args, EXPORTS[args.to]))
    out = args.out or f"{Path(args.model).resolve().name.removesuffix('.gguf')}-{args.to}{form.suffix}"
    verdict = export(
        args.model, out, form, base=args.base, dtype=args.dtype and kinds[args.dtype], verify=args.verify,
        overwrite=args.overwrite,
    )  # fmt: skip
    print(f"saved to {out}")
    if verdict:
        print(f"rounding moved logits by at most {verdict.moved:.2g}")
        print("\n".join(["verified with " + str(verdict.agreement), *verdict.also]))


def _settings(args: argparse.Namespace, form: Any) -> dict[str, Any]:
    """What was given of the form's settings; raises ConfigError for what is another form's."""
    from ..core.errors import ConfigError

    given = {name: value for name in SETTINGS if (value := vars(args)[name]) is not None}
    known = inspect.signature(form).parameters
    if wrong := next((name for name in given if name not in known), None):
        raise ConfigError(f"--{wrong}: is no setting of --to {args.to}; strike it")
    return given
