"""What an answer may be held to, as the request says it, written as llguidance reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.errors import ConfigError, MissingExtra, unknown

LONGEST = 1 << 18  # characters of a schema, expression or grammar
GBNF = 1 << 13  # characters of a grammar in llama.cpp's spelling, which takes seconds to translate where it is long
SPACES = r"[ ]?|\n[ \t]{0,16}"  # between the parts of a JSON text: one space, or a new line and its indentation
ENDS = ("NoExtension", "NoExtensionBias")  # what the library calls a grammar without a text
PURPOSE = "holding answers to a schema or grammar"


def library() -> Any:
    """llguidance, imported where it is used."""
    try:
        import llguidance
    except ImportError:
        raise MissingExtra("llguidance", "serve", PURPOSE) from None
    return llguidance


def held(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with bounded white space, so that no answer runs away in it."""
    return {**schema, "x-guidance": {"whitespace_pattern": SPACES}}


def described(constraint: Mapping[str, Any]) -> str:
    """The llguidance grammar of ``{form: value}``, forms as in FORMS.

    Raises: ConfigError if the form is unknown, its value is of a wrong type or too long.
    """
    if not isinstance(constraint, Mapping) or len(constraint) != 1:
        raise ConfigError(f"constraint: give exactly one of {', '.join(FORMS)}, as in {{regex: '[0-9]+'}}")
    (form, value) = next(iter(constraint.items()))
    if form not in FORMS:
        raise unknown("constraint", str(form), list(FORMS))
    return FORMS[form](value)


def _schema(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"json_schema: is no JSON ({error}); give an object") from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"json_schema: must be an object, as in {{type: object}}, not {type(value).__name__}")
    return library().LLMatcher.grammar_from_json_schema(_written(held(value)))


def _written(schema: Mapping[str, Any]) -> str:
    try:
        return _text("json_schema", json.dumps(schema, ensure_ascii=False, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"json_schema: cannot be written as JSON ({error}); give plain, finite values") from None


def _object(value: Any) -> str:
    if value is not True:
        raise ConfigError(f"json_object: must be true, not {value!r}; leave it out for text")
    return _schema({"type": "object"})


def _regex(value: Any) -> str:
    text = _text("regex", value, most=LONGEST >> 3)
    return library().LLMatcher.grammar_from_lark(f"start: /{_slashed(text)}/")


def _slashed(expression: str) -> str:
    r"""As Lark writes an expression between slashes; ``\d`` is 0 to 9, as in JSON schemas."""
    return library().regex_to_lark(expression, use_ascii="d").replace("\n", "\\n")


def _choice(value: Any) -> str:
    texts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ConfigError("choice: must be a list of texts of one character or more, as in ['yes', 'no']")
    _text("choice", "".join(texts), most=LONGEST >> 3)
    ways = "|".join(_literal(text) for text in dict.fromkeys(texts))
    return library().LLMatcher.grammar_from_lark(f"start: /{ways}/")


def _literal(text: str) -> str:
    """An expression for this very text: whatever is no ASCII letter or digit by its number."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def _grammar(value: Any) -> str:
    text = _text("grammar", value)
    text = _lark(_text("grammar", text, most=GBNF)) if "::=" in text else text
    return library().LLMatcher.grammar_from_lark(text)


def _lark(gbnf: str) -> str:
    """Lark's spelling of llama.cpp's."""
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return any_to_lark(gbnf)
    except RecursionError:
        raise ConfigError("grammar: its GBNF rules nest too deeply; make them flatter") from None
    except Exception as error:  # its own error class, or whatever its parser runs into
        raise ConfigError(f"grammar: {short(str(error))}; mend the GBNF rule") from None


def _text(form: str, value: Any, most: int = LONGEST) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{form}: must be a text, not {type(value).__name__ if value else 'an empty one'}")
    if len(value) > most:
        raise ConfigError(f"{form}: has {len(value):,} characters; at most {most:,} are read")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(f"{form}: holds a NUL or half a surrogate pair; take it out")
    return value


def short(reason: str) -> str:
    """The first sentence of an error of the library."""
    lines = [line.strip() for line in reason.replace("<non-verbose/>", "").splitlines()]
    kept = " ".join(line for line in lines if line and not re.match(r"\d+ \||\^", line))
    kept = "no text keeps to it" if kept in ENDS else kept
    return kept if len(kept) <= 240 else kept[:237] + "…"


FORMS: dict[str, Callable[[Any], str]] = {
    "json_schema": _schema,
    "json_object": _object,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
}
