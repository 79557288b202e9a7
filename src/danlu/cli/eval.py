"""danlu eval MODEL --text held-out.txt more.jsonl --stride 256
danlu eval MODEL --choice mmlu data/test/*.csv --dev data/dev/*.csv --shots 5 --form original
danlu eval MODEL --choice ceval val/law_val.csv --by text --json scores.json"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluate import Perplexity, Report
    from ..infer import Local

HELP = "say how good a model is: perplexity on texts, multiple choice"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id")
    parser.add_argument(
        "--text", nargs="+", metavar="FILE", help="perplexity of these texts (.txt, .md; .jsonl rows' text)"
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="tokens between windows (default: the context less one)"
    )
    parser.add_argument(
        "--choice", nargs="+", metavar=("TASK", "FILE"), help="mmlu, ceval, cmmlu or a .yaml, and its questions"
    )
    parser.add_argument("--dev", nargs="+", default=[], metavar="FILE", help="questions with answers to show before")
    parser.add_argument(
        "--shots", type=int, metavar="K", help="how many of them (default: the task's, as far as they go)"
    )
    parser.add_argument("--form", default="original", help="the wording: original or lm-eval (default: original)")
    parser.add_argument("--by", default="letter", choices=("letter", "text"), help="what is scored (default: letter)")
    parser.add_argument("--json", metavar="OUT", help="write all figures, and every answer, to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    from ..core.errors import ConfigError
    from ..core.files import write_json
    from ..infer import Local
    from ..models import load

    if not args.text and not args.choice:
        raise ConfigError("nothing to measure; give --text FILE or --choice TASK FILE")
    local = Local(*load(args.model))
    figures: dict[str, Any] = {"model": args.model}
    if args.text:
        figures["perplexity"] = _perplexity(local, args)
    if args.choice:
        figures["choice"] = _choice(local, args)
    if args.json:
        write_json(args.json, figures)


def _perplexity(local: Local, args: argparse.Namespace) -> dict[str, Any]:
    from ..evaluate import perplexity
    from ..evaluate.texts import read_texts

    result = perplexity(local, read_texts(args.text), stride=args.stride, quiet=args.quiet)
    print(_perplexity_table(result))
    return result.write()


def _perplexity_table(result: Perplexity) -> str:
    return (
        f"perplexity        {result.per_token:12,.3f} a token    {result.per_byte:8,.4f} a byte    "
        f"{result.per_word:10.4g} a word (between white space)\n"
        f"bits a byte       {result.bits_per_byte:12,.4f}\n"
        f"measured on       {result.tokens:12,} tokens, {result.bytes_:,} bytes, {result.words:,} words, "
        f"{result.texts:,} texts\n"
        f"windows           context {result.context}, stride {result.stride}"
    )


def _choice(local: Local, args: argparse.Namespace) -> dict[str, Any]:
    from ..core.errors import ConfigError
    from ..evaluate import choose, open_task
    from ..evaluate.questions import read_questions

    name, *files = args.choice
    task = open_task(name)
    if not files:
        raise ConfigError(f"no questions; write their files after the task: --choice {name} FILE …")
    questions, dev = ([q for file in group for q in read_questions(file)] for group in (files, args.dev))
    report = choose(
        local, task, questions, dev, name=name, form=args.form, by=args.by, shots=args.shots, quiet=args.quiet
    )  # fmt: skip
    print(_choice_table(report))
    return report.write()


def _choice_table(report: Report) -> str:
    rows = [(name, t.write()) for name, t in report.subjects.items()]
    width = max(16, *(len(name) for name, _ in rows))
    line = "{:<%d} {:>8} {:>9} {:>10} {:>7} {:>5}" % width  # noqa: UP031  (the braces are the template's own)
    table = [line.format("subject", "acc", "acc_norm", "questions", "shots", "cut")]
    for name, r in rows:
        share = (f"{r['acc']:.4f}", f"{r['acc_norm']:.4f}")
        table.append(line.format(name, *share, r["questions"], f"{r['shots']:.1f}", r["cut"]))
    table.append(line.format("all questions", f"{report.acc:.4f}", f"{report.acc_norm:.4f}", report.questions, "", ""))
    table.append(line.format("mean of subjects", f"{report.acc_by_subject:.4f}", "", "", "", ""))
    table.append(f"{report.task}, wording {report.form}, scored by {report.by}, up to {report.shots} shots")
    if long := [letter for letter, size in report.spelled.items() if size > 1]:
        table.append(f"note: {', '.join(long)} take more than one token with this tokenizer; all of them are scored")
    return "\n".join(table)
