"""danlu eval MODEL --text held-out.txt more.jsonl --stride 256
danlu eval --before BASE --after runs/sft-lora/final --domain mine.txt --general wiki.txt       gains and forgetting
danlu eval MODEL --choice mmlu data/test/*.csv --dev data/dev/*.csv --shots 5 --form original
danlu eval MODEL --choice ceval val/law_val.csv --by text --json scores.json
danlu eval MODEL --by-position held-out.txt --length 4096 --plot loss.png     loss by position, also beyond the context
danlu eval MODEL --recall 32 64 128 256 --position '{use: rope, scaling: {use: yarn, factor: 8, original: 64}}'"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluate import ByPosition, Perplexity, Recall, Report
    from ..evaluate.picture import Panel
    from ..evaluate.recall import Found
    from ..infer import Local
    from ..nn.model import Model
    from ..tokenize import Tokenizer

HELP = "say how good a model is: perplexity, multiple choice, loss by position, recall by distance"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model directory, a run, an adapter or a hub id")
    parser.add_argument("--before", metavar="MODEL", help="compare this model …")
    parser.add_argument("--after", metavar="MODEL", help="… with this one, on --domain and --general texts")
    parser.add_argument("--domain", nargs="+", default=[], metavar="FILE", help="texts of what was to be learned")
    parser.add_argument("--general", nargs="+", default=[], metavar="FILE", help="texts of what is not to be forgotten")
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
    parser.add_argument("--by-position", nargs="+", metavar="FILE", help="loss by position in windows of these texts")
    parser.add_argument("--length", type=int, metavar="N", help="tokens a window (default: twice the context)")
    parser.add_argument("--bins", type=int, metavar="N", help="bins of positions (default: 16)")
    parser.add_argument(
        "--recall",
        nargs="*",
        type=int,
        metavar="DISTANCE",
        help="accuracy of copying and recalling so many tokens back",
    )
    parser.add_argument("--passages", type=int, default=32, metavar="N", help="copies a distance (default: 32)")
    parser.add_argument(
        "--position", metavar="SPEC", help="measure the model with another position encoding or scaling"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw loss by position and recall by distance")
    parser.add_argument("--json", metavar="OUT", help="write all figures, and every answer, to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    from ..assembly import load
    from ..core.errors import ConfigError
    from ..core.files import write_json

    if args.before or args.after:
        figures = _compared(args)
        if args.json:
            write_json(args.json, figures)
        return
    if not args.model:
        raise ConfigError("name a model, as in danlu eval MODEL --text FILE, or two with --before and --after")
    if not args.text and not args.choice and not args.by_position and args.recall is None:
        raise ConfigError("nothing to measure; give --text FILE, --by-position FILE, --recall or --choice TASK FILE")
    if args.plot and not args.by_position and args.recall is None:
        raise ConfigError("--plot draws loss by position and recall by distance; give --by-position FILE or --recall")
    model, tokenizer = load(args.model)
    figures: dict[str, Any] = {"model": args.model}
    if args.position:
        model = _positioned(model, args.position)
        figures["position"] = args.position
    figures |= _measured(model, tokenizer, args)
    if args.json:
        write_json(args.json, figures)


def _measured(model: Model, tokenizer: Tokenizer | None, args: argparse.Namespace) -> dict[str, Any]:
    from ..evaluate.picture import draw
    from ..infer import Local

    figures: dict[str, Any] = {}
    panels: list[Panel] = []
    if args.text:
        figures["perplexity"] = _perplexity(Local(model, tokenizer), args)
    if args.choice:
        figures["choice"] = _choice(Local(model, tokenizer), args)
    if args.by_position:
        figures["by_position"] = _by_position(model, tokenizer, args, panels)
    if args.recall is not None:
        figures["recall"] = _recall(model, tokenizer, args, panels)
    if args.plot:
        draw(panels, args.plot)
    return figures


def _compared(args: argparse.Namespace) -> dict[str, Any]:
    from ..assembly import load
    from ..core.errors import ConfigError
    from ..evaluate import forgetting
    from ..evaluate.texts import read_texts
    from ..infer import Local

    if not (args.before and args.after):
        raise ConfigError("a comparison needs both --before MODEL and --after MODEL")
    named = {"domain": args.domain, "general": args.general}
    if not (texts := {kind: list(read_texts(files)) for kind, files in named.items() if files}):
        raise ConfigError("nothing to compare them on; give --domain FILE, --general FILE or both")
    before, after = (Local(*load(path)) for path in (args.before, args.after))
    changes = forgetting(before, after, texts, stride=args.stride, quiet=args.quiet)
    print(f"{'bits a byte':<12} {'before':>10} {'after':>10} {'change':>10} {'bytes':>12}")
    for change in changes:
        pair = f"{change.before.bits_per_byte:10.4f} {change.after.bits_per_byte:10.4f}"
        said = "gained" if change.gain > 0 else "lost"
        print(f"{change.kind:<12} {pair} {-change.gain:+10.4f} {change.after.bytes_:12,}  {said}")
    return {"before": args.before, "after": args.after, **{change.kind: change.write() for change in changes}}


def _positioned(model: Model, text: str) -> Model:
    """The same weights with another position encoding, written as in a recipe."""
    import yaml

    from ..core.errors import ConfigError
    from ..core.spec import Spec
    from ..models import repositioned

    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--position {text}: is no YAML; write {{use: rope, scaling: {{use: yarn, factor: 8}}}}"
        ) from None
    return repositioned(model, Spec.read(raw, "--position"))


def _by_position(
    model: Model, tokenizer: Tokenizer | None, args: argparse.Namespace, panels: list[Panel]
) -> dict[str, Any]:
    from ..evaluate.by_position import by_position, panel
    from ..evaluate.texts import read_texts
    from ..infer import Local

    trained = model.dims.context
    length = args.length or min(2 * trained, model.limit or 2 * trained)
    local = Local(model, tokenizer, reach=length)
    result = by_position(local, read_texts(args.by_position), length=length, bins=args.bins, quiet=args.quiet)
    print(_position_table(result, trained))
    panels.append(panel({args.model: result}, trained=trained))
    return {**result.write(), "context": trained}


def _position_table(result: ByPosition, trained: int) -> str:
    lines = ["position          loss (nats/token)    stderr     tokens"]
    for one in result.bins:
        stderr = "" if one.stderr is None else f"{one.stderr:.4f}"
        beyond = "   beyond the context" if one.last >= trained else ""
        lines.append(
            f"{one.first:>7,} … {one.last:<8,} {one.loss:16.4f} {stderr:>9} {one.size * result.windows:>10,}{beyond}"
        )
    skipped = f", {result.short:,} too short for one" if result.short else ""
    lines.append(f"measured on {result.windows:,} windows of {result.length:,} tokens, {result.texts:,} texts{skipped}")
    return "\n".join(lines)


def _recall(model: Model, tokenizer: Tokenizer | None, args: argparse.Namespace, panels: list[Panel]) -> dict[str, Any]:
    from ..evaluate import recall
    from ..evaluate.recall import panels as drawn
    from ..evaluate.recall import reads, usual
    from ..infer import Local

    trained = model.dims.context
    distances = args.recall or usual(trained, model.limit)
    local = Local(model, tokenizer, reach=max(reads(max(distances)), trained))
    result = recall(local, distances, passages=args.passages, quiet=args.quiet)
    print(_recall_table(result))
    panels += drawn({args.model: result}, trained=trained)
    return {**result.write(), "context": trained}


def _recall_table(result: Recall) -> str:
    def share(found: Found) -> str:
        return f"{found.accuracy:10.4f} {found.asked:9,} {found.reads:7,}"

    lines = [
        "            copy                          key–value recall",
        "distance    accuracy     asked   reads    accuracy     asked   reads",
    ]
    for copied, recalled in zip(result.copy, result.recall, strict=True):
        lines.append(f"{copied.distance:8,}  {share(copied)}  {share(recalled)}")
    return "\n".join([*lines, f"noise over {result.letters} letters; an answer is right if it is the likeliest token"])


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
