"""A head's settings: the built-in head's options, or a class of the user's and its own."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from regionspot_core.heads.fusion.config import FusionOptions
from regionspot_core.heads.shape import BUILT_IN, KindName


class HeadOptions(FusionOptions):
    """A kind of head, and its options.

    Files have the built-in head's options alone, and ``kind`` and ``options`` of any other.
    """

    kind: KindName = BUILT_IN
    """Head that learns: `fusion`, or a class of your own as `module:Class`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of a class of your own, each as `head.options.NAME`; the other keys are the built-in
    head's."""

    @model_validator(mode="after")
    def _options_are_of_the_kind(self) -> HeadOptions:
        if self.kind == BUILT_IN and self.options:
            raise ValueError(
                f"options.{next(iter(self.options))}: head.options are for a class of your own; "
                f"set head.kind=module:Class too, or leave them out"
            )
        built_in = sorted(self.model_fields_set - {"kind", "options"})
        if self.kind != BUILT_IN and built_in:
            raise ValueError(
                f"{built_in[0]}: an option of the built-in head, and head.kind is {self.kind}; "
                f"leave it out, or set head.options.{built_in[0]} if the class has such an option"
            )
        return self

    @model_serializer(mode="wrap")
    def _of_its_kind(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = usual(self)
        own = {name: values.pop(name) for name in ("kind", "options")}
        return values if self.kind == BUILT_IN else own
