"""What image models and images APIs can do: two tables, and how to look things up in them. Data; it asks nobody.

A request must suit the row of its model and the row of its API. Sources: the public images API's reference for its
models; what is known of no model is left to the backend to judge. Names are matched by how their last part begins, so
`azure/gpt-image-1` and `gpt-image-1-mini` are found, and the first row that fits counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app_server.extension_api.values import frozen

AUTO: Final = "auto"
BACKGROUNDS: Final = (AUTO, "opaque", "transparent")
STILL_FORMATS: Final = ("png", "jpeg", "webp")
GIF_FRAMES: Final = (2, 16)
GIF_FRAME_MS: Final = (20, 2000)
MAX_N: Final = 10
MAX_PARTIAL_IMAGES: Final = 3
_MIB: Final = 1024 * 1024


@frozen
class SizeRange:
    """Sizes that follow rules; `examples` are some that do."""

    max_edge: int
    multiple: int
    max_ratio: int
    min_pixels: int
    max_pixels: int
    examples: str

    @property
    def rule(self) -> str:
        """In words."""
        return (
            f"both edges multiples of {self.multiple} and at most {self.max_edge}, the longer at most "
            f"{self.max_ratio} times the shorter, {self.min_pixels} to {self.max_pixels} pixels in all"
        )

    def allows(self, width: int, height: int) -> bool:
        """Whether the size follows the rules."""
        short, long = sorted((width, height))
        return (
            short > 0
            and long <= self.max_edge
            and width % self.multiple == height % self.multiple == 0
            and long <= short * self.max_ratio
            and self.min_pixels <= width * height <= self.max_pixels
        )


@frozen
class SizeList:
    """Sizes that are listed."""

    sizes: tuple[str, ...]

    @property
    def rule(self) -> str:
        """In words."""
        return "one of " + ", ".join(self.sizes)

    @property
    def examples(self) -> str:
        """Some of them."""
        return self.sizes[0]

    def allows(self, width: int, height: int) -> bool:
        """Whether the size is listed."""
        return f"{width}x{height}" in self.sizes


@frozen
class ImageModel:
    """What a model takes. The word `auto` is always taken; `says_auto` tells whether it may be sent."""

    prefix: str
    sizes: SizeRange | SizeList | None = None
    """None: any."""
    qualities: tuple[str, ...] = ("low", "medium", "high")
    backgrounds: tuple[str, ...] = BACKGROUNDS
    formats: tuple[str, ...] = STILL_FORMATS
    max_n: int = MAX_N
    max_inputs: int = 16
    """Pictures that an edit may start from; 0: it cannot edit."""
    max_input_bytes: int = 50 * _MIB
    masks: bool = True
    partial_images: int = 0
    says_auto: bool = True
    asks_for_bytes: bool = False
    """Whether it answers with links unless `response_format` asks for the bytes."""


_GPT_SIZES: Final = SizeList(sizes=("1024x1024", "1536x1024", "1024x1536"))
MODELS: Final[tuple[ImageModel, ...]] = (
    ImageModel(
        prefix="gpt-image-2",
        sizes=SizeRange(
            max_edge=3840,
            multiple=16,
            max_ratio=3,
            min_pixels=655_360,
            max_pixels=8_294_400,
            examples="1024x1024, 1536x1024 or 3840x2160",
        ),
        formats=(*STILL_FORMATS, "gif"),
        partial_images=MAX_PARTIAL_IMAGES,
    ),
    ImageModel(prefix="gpt-image-", sizes=_GPT_SIZES, partial_images=MAX_PARTIAL_IMAGES),
    ImageModel(prefix="chatgpt-image-", sizes=_GPT_SIZES, partial_images=MAX_PARTIAL_IMAGES),
    ImageModel(
        prefix="dall-e-3",
        sizes=SizeList(sizes=("1024x1024", "1792x1024", "1024x1792")),
        qualities=("standard", "hd"),
        backgrounds=(AUTO,),
        formats=(),
        max_n=1,
        max_inputs=0,
        masks=False,
        says_auto=False,
        asks_for_bytes=True,
    ),
    ImageModel(
        prefix="dall-e-2",
        sizes=SizeList(sizes=("256x256", "512x512", "1024x1024")),
        qualities=("standard",),
        backgrounds=(AUTO,),
        formats=(),
        max_inputs=1,
        max_input_bytes=4 * _MIB,
        says_auto=False,
        asks_for_bytes=True,
    ),
    ImageModel(prefix="", qualities=("low", "medium", "high", "standard", "hd")),
)
"""The last row is for all that is not known: a deployment's own name, a model of another maker."""


@frozen
class Api:
    """What a way of asking can carry."""

    title: str
    says_auto: bool
    """Whether automatic parameters are sent as `auto`; else left out, for servers that do not know the word."""
    form_edits: bool = False
    """Whether edits go as a form rather than as JSON."""
    gif: bool = False
    file_ids: bool = False
    """Whether an edit may name a picture by the provider's file id."""
    partial_images: bool = True
    paid: bool = True
    any_model: bool = False
    """Whether it looks at no model name, so that only this row counts."""
    ignored: tuple[str, ...] = ()
    """Parameters without effect: left out, and the clients are told."""


APIS: Final[Mapping[str, Api]] = MappingProxyType(
    {
        "json": Api(title="images API (JSON)", says_auto=True, gif=True, file_ids=True),
        "multipart": Api(title="images API (multipart edits)", says_auto=False, form_edits=True),
        "offline": Api(
            title="offline sketch, not AI",
            says_auto=False,
            gif=True,
            paid=False,
            any_model=True,
            ignored=("quality",),
        ),
    }
)

_OFFLINE_MODEL: Final = ImageModel(
    prefix="",
    sizes=SizeRange(
        max_edge=3840, multiple=1, max_ratio=3, min_pixels=64 * 64, max_pixels=8_294_400, examples="768x512"
    ),
    qualities=("low", "medium", "high", "standard", "hd"),
    formats=(*STILL_FORMATS, "gif"),
    partial_images=MAX_PARTIAL_IMAGES,
)


def model_row(name: str, api: Api | None = None) -> ImageModel:
    """The row of a model, behind this API."""
    if api is not None and api.any_model:
        return _OFFLINE_MODEL
    last = name.rsplit("/", 1)[-1].lower()
    return next(row for row in MODELS if last.startswith(row.prefix))
