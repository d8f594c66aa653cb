"""Label Studio's ML backend protocol: pre-annotations of tasks, and of a click or a box.

The protocol is what label-studio-ml's own server answers (https://labelstud.io/guide/ml_create):
``GET /health``, ``POST /setup`` and ``POST /predict``. Places are percents of the picture's size.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

from defusedxml import ElementTree
from pydantic import Field

from regionspot_app.pictures import Pictures
from regionspot_app.workbench.images import OpenImage
from regionspot_app.workbench.prompts import MOST_POINTS, Prompt
from regionspot_app.workbench.workbench import Workbench
from regionspot_core import __version__
from regionspot_core.errors import InputError
from regionspot_core.support.records import Record

LABELS = "RectangleLabels"
MOST_TASKS = 1_000
MOST_DRAWN = 1_000
Percent = Annotated[float, Field(strict=False, allow_inf_nan=False, ge=-1_000, le=1_000)]
"""A share of the picture's size; what is drawn over its edge is refused where it is a prompt."""


class _Value(Record, extra="ignore"):
    x: Percent
    y: Percent
    width: Percent = 0.0
    height: Percent = 0.0


class _Drawn(Record, extra="ignore"):
    type: str
    value: _Value
    is_positive: bool = True


class _Context(Record, extra="ignore"):
    result: tuple[_Drawn, ...] = Field(default=(), max_length=MOST_DRAWN)


class _Params(Record, extra="ignore"):
    context: _Context | None = None


class _Task(Record, extra="ignore"):
    data: dict[str, Any]


class Predict(Record, extra="ignore"):
    """Body of ``/predict``. Label Studio sends more, which is not looked at."""

    tasks: tuple[_Task, ...] = Field(max_length=MOST_TASKS)
    label_config: str = ""
    params: _Params = _Params()


@dataclass(frozen=True)
class Control:
    """The labels of a project's configuration."""

    name: str
    """Name of the ``<RectangleLabels>``."""
    image: str
    """Name of the ``<Image>`` that it labels."""
    key: str
    """Key of a task's data that holds the picture."""
    labels: tuple[str, ...]

    @classmethod
    def parse(cls, config: str) -> Control:
        """Read a labelling configuration.

        Raises:
            InputError: If it is no XML, or has no rectangles on an image.
        """
        expected = f"label_config: expected XML with <{LABELS}> on an <Image value='$…'>"
        try:
            root = ElementTree.fromstring(config)
        except (ElementTree.ParseError, ValueError) as error:
            raise InputError(f"{expected} ({error})") from None
        images = {each.get("name"): each.get("value", "") for each in root.iter("Image")}
        for control in root.iter(LABELS):
            key = images.get(control.get("toName"), "")
            labels = tuple(each.get("value", "") for each in control.iter("Label"))
            if key.startswith("$") and any(labels):
                return cls(
                    control.get("name", ""),
                    control.get("toName", ""),
                    key[1:],
                    tuple(dict.fromkeys(filter(None, labels))),
                )
        raise InputError(f"{expected} and <Label>s; got none")


class LabelStudio:
    """Predictions in Label Studio's form.

    Args:
        bench: The models.
        pictures: Pictures that tasks may name; no address is ever fetched.
    """

    def __init__(self, bench: Workbench, pictures: Pictures) -> None:
        self._bench = bench
        self._pictures = pictures

    @property
    def version(self) -> str:
        """Return what predictions are known by."""
        return f"{self._bench.heads[0].name} (regionspot {__version__})"

    def predict(self, body: Predict) -> dict[str, Any]:
        """Return a prediction for each task: of what is drawn, or else of all that SAM finds.

        Raises:
            InputError: If the configuration has no rectangles, or a picture is not known.
        """
        control = Control.parse(body.label_config)
        drawn = () if body.params.context is None else body.params.context.result
        return {"results": [self._prediction(task, control, drawn) for task in body.tasks]}

    def _prediction(self, task: _Task, control: Control, drawn: Sequence[_Drawn]) -> dict[str, Any]:
        _, image = self._bench.open_file(self._content(task.data.get(control.key)))
        prompts = _prompts(drawn, image)
        if drawn:
            regions = self._bench.segment(image, prompts)
        else:
            regions = [region for _, region in self._bench.everything(image)]
        (found, *_) = self._bench.classify(image, regions, control.labels)
        best = found.probabilities.argmax(axis=1) if regions else []
        scores = [float(found.probabilities[r, k]) for r, k in enumerate(best)]
        result = [
            {
                "from_name": control.name,
                "to_name": control.image,
                "type": LABELS.lower(),
                "original_width": image.size[1],
                "original_height": image.size[0],
                "image_rotation": 0,
                "score": scores[r],
                "value": {
                    **_percents(found.boxes[r].tolist(), image),
                    "rotation": 0,
                    LABELS.lower(): [control.labels[k]],
                },
            }
            for r, k in enumerate(best)
        ]
        return {
            "model_version": self.version,
            "score": sum(scores) / len(scores) if scores else 0.0,
            "result": result,
        }

    def _content(self, place: object) -> bytes:
        """Return the picture that a task names: a data URI, or the end of an offered one's path."""
        if not isinstance(place, str) or not place:
            raise InputError("tasks: expected each with the picture of its configuration")
        encoded = re.match(r"data:image/[\w.+-]+;base64,", place)
        if encoded:
            try:
                return base64.b64decode(place[encoded.end() :], validate=True)
            except ValueError:  # also of what is no ASCII
                raise InputError("tasks: expected a picture in base64, got another text") from None
        name = self._offered(place)
        if name is not None:
            return self._pictures.read(name)
        raise InputError(
            f"tasks: {place[:200]!r} is none of the pictures that the app was given; start it "
            f"with --images of the folder that Label Studio serves"
        )

    def _offered(self, place: str) -> str | None:
        """Return the offered picture at the end of an address's path, the longest of several."""
        try:
            address = urlsplit(place)
            (path, *_) = parse_qs(address.query).get("d") or [unquote(address.path)]
        except ValueError:  # no address
            return None
        path = "/" + path.strip("/")
        return max(
            (n for n in self._pictures.names if path.endswith(f"/{n}")), key=len, default=None
        )


def _prompts(drawn: Sequence[_Drawn], image: OpenImage) -> list[Prompt]:
    """Return a prompt for each box, and one for all clicks together.

    Raises:
        InputError: If there are more clicks than a prompt takes.
    """
    height, width = image.size
    boxes = [
        Prompt(
            box=(
                each.value.x * width / 100,
                each.value.y * height / 100,
                (each.value.x + each.value.width) * width / 100,
                (each.value.y + each.value.height) * height / 100,
            )
        )
        for each in drawn
        if each.type.startswith("rectangle")
    ]
    clicks = [each for each in drawn if each.type.startswith("keypoint")]
    if len(clicks) > MOST_POINTS:
        raise InputError(f"params: expected at most {MOST_POINTS} clicks, got {len(clicks)}")
    if clicks:
        points = tuple((c.value.x * width / 100, c.value.y * height / 100) for c in clicks)
        boxes.append(Prompt(points=points, inside=tuple(c.is_positive for c in clicks)))
    return boxes


def _percents(box: Sequence[float], image: OpenImage) -> dict[str, float]:
    height, width = image.size
    x1, y1, x2, y2 = box
    return {
        "x": 100 * x1 / width,
        "y": 100 * y1 / height,
        "width": 100 * (x2 - x1) / width,
        "height": 100 * (y2 - y1) / height,
    }
