"""Tokens of one configuration line: words, quoted values, comments, <decorations>.

The rules are those of the DPVS configuration file: `!` or `#` at the start of a token ends the
line, a token that starts with `<` is decoration up to the next `>`, and blanks may be written
inside double quotes. There is no escape character.
"""

import re

BLANKS = " \t\v\f"  # the white space of C that does not end a line

_TOKEN = re.compile(
    rf"""[{BLANKS}]*(?:
        (?P<comment>[!\#].*)
      | <[^>]*(?P<decoration>>|$)
      | "(?P<quoted>[^"]*)(?P<endquote>"|$)
      | (?P<word>[^{BLANKS}"]+)
      | $
    )""",
    re.VERBOSE | re.DOTALL,
)


class LexError(ValueError):
    """A line that cannot be split into tokens."""


class Quoted(str):
    """A token that was written in quotes: never a brace, never a keyword."""

    __slots__ = ()


def split(line: str) -> list[str]:
    """Return the tokens of one line, without comments and decorations.

    Raises LexError for an unclosed quote or decoration and for characters that are not text.
    """
    tokens: list[str] = []
    position = 0
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None or match["comment"] is not None:
            break
        position = match.end()
        if match["decoration"] == "":
            raise LexError("missing '>' of a decoration that starts with '<'")
        if match["endquote"] == "":
            raise LexError("missing closing quote")
        if match["quoted"] is not None:
            tokens.append(Quoted(match["quoted"]))
        elif match["word"] is not None:
            tokens.append(match["word"])
    for token in tokens:
        check_text(token)
    return tokens


def check_text(text: str) -> None:
    """Raise LexError if text holds control characters or bytes that are not UTF-8."""
    if not text.replace("\t", " ").isprintable():
        raise LexError(f"{text!a} holds characters that are not printable UTF-8 text")


def strip_comment(line: str) -> str:
    """Return a line of a raw block without its comment and outer blanks.

    `!` and `#` start a comment as everywhere, at the start of a token; both kinds of quotes
    protect them, because raw lines follow the quoting of a shell.
    """
    quote = ""
    blank = True
    for i, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "!#" and blank:
            return line[:i].strip(BLANKS)
        blank = char in BLANKS
    return line.strip(BLANKS)


def quote(value: str) -> str:
    """Write value so that `split` reads it back as one token.

    Raises ValueError if the syntax cannot express it (a double quote, a control character).
    """
    if '"' in value or "\n" in value or "\r" in value:
        raise ValueError(f"{value!r} cannot be written in a configuration file")
    check_text(value)
    plain = value and value[0] not in "!#<" and not any(char in value for char in BLANKS)
    if plain and not value.endswith("{") and value != "}":
        return value
    return f'"{value}"'
