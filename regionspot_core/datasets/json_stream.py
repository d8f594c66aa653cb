"""Reading a JSON file of any size value by value, without ever holding all of it."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from regionspot_core.errors import AnnotationError

BLOCK_BYTES = 16 * 1024**2
_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 16
"""An error this near the end of the text may come of a literal, number or escape cut in two."""


class JsonStream:
    """A cursor over one JSON document in UTF-8, with or without a byte order mark.

    It stands before a value. :meth:`value` takes the whole value; :meth:`elements` and
    :meth:`members` go into a list or an object, so that only one element is held at a time.
    The document ends with :meth:`finish`.

    Args:
        file: The document's bytes; read once, from where it stands.
        path: File that errors name.
        expected: Words for the file's form in errors.
        block_bytes: Number of bytes that are read at a time.

    Every method raises :class:`AnnotationError` where the bytes are not JSON, end early or nest
    too deeply.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        *,
        expected: str = "JSON",
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._file = file
        self._path = path
        self._expected = expected
        self._block_bytes = block_bytes
        self._decode_text = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decode_json = json.JSONDecoder().raw_decode
        self._digest = hashlib.sha256()
        self._text = ""
        self._place = 0
        """Position of the cursor in ``_text``."""
        self._before = 0
        """Number of characters before ``_text``."""
        self._ended = False

    def opening(self) -> str:
        """Return the next character that is no space, ``""`` at the end; the cursor stays."""
        while True:
            match = _SPACE.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._fill():
                return ""

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the next value."""
        self.opening()
        while True:
            try:
                value, end = self._decode_json(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._fill():
                    continue
                self._refuse(error.msg, at=error.pos)
            except RecursionError:
                self._refuse("it nests too deeply")
            except ValueError:
                # Python reads no whole number of more than 4 300 digits.
                self._refuse("a number has too many digits")
            if end >= len(self._text) - 2 and self._fill():
                continue  # a number may go on in the next block, even after "1e+"
            self._place = end
            return value

    def elements(self) -> Iterator[Any]:
        """Yield the values of the next list, each read when it is asked for."""
        self._take("[")
        if self.opening() == "]":
            self._place += 1
            return
        while True:
            yield self.value()
            if self._closes("]"):
                return

    def members(self) -> Iterator[str]:
        """Yield the keys of the next object.

        After each key the cursor stands before its value, which must be taken (or skipped) before
        the next key is asked for.
        """
        self._take("{")
        if self.opening() == "}":
            self._place += 1
            return
        while True:
            if self.opening() != '"':
                self._refuse("expecting a key in double quotes")
            key = self.value()
            self._take(":")
            yield key
            if self._closes("}"):
                return

    def skip(self) -> None:
        """Pass over the value that comes next."""
        if self.opening() == "[":
            for _ in self.elements():
                pass
        else:
            self.value()

    def finish(self) -> str:
        """Return the SHA-256 of the file's bytes in hexadecimal; refuse data after the document."""
        if self.opening():
            self._refuse("extra data")
        return self._digest.hexdigest()

    def _closes(self, bracket: str) -> bool:
        """Take the comma before another value, or the closing bracket."""
        found = self.opening()
        if found not in (",", bracket):
            self._refuse(f"expecting ',' or '{bracket}'")
        self._place += 1
        return found == bracket

    def _take(self, character: str) -> None:
        if self.opening() != character:
            self._refuse(f"expecting '{character}'")
        self._place += 1

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        # A string without an end is reported at its beginning, all else where it goes wrong.
        near_end = error.pos >= len(self._text) - _LONGEST_TOKEN
        return near_end or error.msg.startswith("Unterminated string")

    def _fill(self) -> bool:
        """Drop what was read and append the next block; False at the end of the file."""
        if self._ended:
            return False
        # At least as much as is left: a value of many blocks is then tried a few times only.
        raw = self._file.read(max(self._block_bytes, len(self._text) - self._place))
        self._ended = not raw
        self._digest.update(raw)
        self._before += self._place
        try:
            text = self._decode_text(raw, final=self._ended)
        except UnicodeDecodeError as error:
            self._refuse(f"bytes that are not UTF-8: {error.reason}")
        self._text = self._text[self._place :] + text
        self._place = 0
        return True

    def _refuse(self, problem: str, *, at: int | None = None) -> NoReturn:
        character = self._before + (self._place if at is None else at)
        where = "at its end" if self._ended and not self._text[self._place :].strip() else ""
        raise AnnotationError(
            f"{self._path}: expected {self._expected} "
            f"({problem}, {where or f'at character {character:,}'})"
        ) from None
