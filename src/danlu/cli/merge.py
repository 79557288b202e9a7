"""danlu merge runs/lora MERGED                 a model directory that transformers and vLLM open
danlu merge PEFT-FOLDER MERGED --base DIR --verify "Once upon a time"
danlu merge runs/lora MERGED --dtype bf16       sums are made in fp32 and rounded once"""

from __future__ import annotations

import argparse

HELP = "fold an adapter into the weights of its base, read anew in full precision"
DTYPES = ("fp32", "fp16", "bf16")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", metavar="ADAPTER", help="a run with an adapter, its folder, or a folder of PEFT's")
    parser.add_argument("out", metavar="OUT", help="the model directory to write")
    parser.add_argument("--base", metavar="DIR", help="where the base lies now (the one that the adapter names)")
    parser.add_argument("--any-base", action="store_true", help="also into other weights than it was trained on")
    parser.add_argument("--dequantize", action="store_true", help="make full weights of a base that is kept quantized")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights that are written (that of the base)")
    parser.add_argument(
        "--verify", nargs="?", const="Once upon a time", metavar="PROMPT", help="compare logits and greedy text"
    )
    parser.add_argument("--overwrite", action="store_true", help="also where OUT holds something")


def run(args: argparse.Namespace) -> None:
    import torch

    from ..assembly.merging import merge_folder

    kinds = dict(zip(DTYPES, (torch.float32, torch.float16, torch.bfloat16), strict=True))
    verdict = merge_folder(
        args.adapter, args.out, base=args.base, any_base=args.any_base, dequantize=args.dequantize,
        dtype=args.dtype and kinds[args.dtype], verify=args.verify, overwrite=args.overwrite,
    )  # fmt: skip
    print(f"saved to {args.out}")
    if verdict:
        print(f"verified: logits at most {verdict.apart:.2g} apart, the same greedy text of {verdict.steps} tokens")
