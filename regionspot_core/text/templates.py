"""The named sets of templates."""

from __future__ import annotations

from pathlib import Path

from regionspot_core.errors import InputError
from regionspot_core.text.class_text import PLACE, read_templates

SETS = ("paper", "openai", "simple")


def load_templates(name: str) -> tuple[str, ...]:
    """Load a set by its name, or the templates in the file of that name.

    ``openai`` are the 80 that OpenAI wrote for ImageNet, ``simple`` its 7 best ones, both as
    open_clip has them; ``paper`` are the 80 and the bare ``{}.`` (arXiv 2311.01373).

    Raises:
        InputError: It is neither a set nor a file of templates.
    """
    from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    if name not in SETS:
        if not Path(name).exists():
            raise InputError(f"--templates {name}: neither a file nor one of {', '.join(SETS)}")
        return read_templates(Path(name))
    source = SIMPLE_IMAGENET_TEMPLATES if name == "simple" else OPENAI_IMAGENET_TEMPLATES
    filled = tuple(template(PLACE) for template in source)
    return (*filled, f"{PLACE}.") if name == "paper" else filled
