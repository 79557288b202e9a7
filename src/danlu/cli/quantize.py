"""danlu quantize MODEL --method int4 --group 32 --out DIR                a directory that transformers and vLLM open
danlu quantize MODEL --method int8 --out DIR --texts held-out.txt     perplexity before and after
danlu quantize MODEL --method w8a8 --out DIR --dtype bf16             everything else in bf16
danlu quantize MODEL --method nf4 --out DIR                           bitsandbytes' layout, for QLoRA"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..assembly.quantizing import Judge, Quantized

HELP = "write a model with the weights of its blocks in 8 or 4 bits"
DTYPES = ("fp32", "fp16", "bf16")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id")
    parser.add_argument("--method", required=True, metavar="NAME", help="int8, int4, w8a8, nf4 (also fp4, llm_int8)")
    parser.add_argument("--group", type=int, metavar="N", help="weights that share a scale (int4: 32, int8: a row)")
    parser.add_argument("--out", required=True, metavar="DIR", help="the model directory to write")
    parser.add_argument("--texts", nargs="+", metavar="FILE", help="say the perplexity of these, before and after")
    parser.add_argument(
        "--stride", type=int, metavar="N", help="tokens between windows (default: the context less one)"
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of all other numbers (as they are stored)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file")
    parser.add_argument("--overwrite", action="store_true", help="also where DIR holds something")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    import torch

    from ..assembly.quantizing import quantize, way
    from ..core.files import write_json

    kinds = dict(zip(DTYPES, (torch.float32, torch.float16, torch.bfloat16), strict=True))
    storage = way(args.method, args.group)
    result = quantize(
        args.model, args.out, storage, dtype=args.dtype and kinds[args.dtype], judge=_judge(args),
        overwrite=args.overwrite,
    )  # fmt: skip
    print(_table(result))
    print(f"saved to {args.out}")
    if args.json:
        write_json(args.json, {"model": args.model, "method": args.method, **asdict(result)})


def _judge(args: argparse.Namespace) -> Judge | None:
    """Perplexity a token of the texts, which are read before anything else is done."""
    if not args.texts:
        return None
    from ..evaluate import perplexity
    from ..evaluate.texts import read_texts
    from ..infer import Local

    texts = list(read_texts(args.texts))
    return lambda model, tokenizer: (
        perplexity(Local(model, tokenizer), texts, stride=args.stride, quiet=args.quiet).per_token
    )


def _table(result: Quantized) -> str:
    before, after = result.before, result.after
    lines = [
        f"{'':<14}{'before':>16}{'after':>16}{'change':>11}",
        f"{'bytes':<14}{before.bytes_:>16,}{after.bytes_:>16,}{after.bytes_ / before.bytes_ - 1:>+11.1%}",
    ]
    if before.figure is not None and after.figure is not None:
        change = after.figure / before.figure - 1
        lines.append(f"{'perplexity':<14}{before.figure:>16,.4f}{after.figure:>16,.4f}{change:>+11.2%}")
    return "\n".join([*lines, f"{result.maps} linear maps at {result.bits:.3f} bits a weight; the rest as it was"])
