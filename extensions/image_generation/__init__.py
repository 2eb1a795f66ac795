"""Standalone image generation: the tool `image_gen.imagegen`, run by this server instead of by the model's provider."""

from extensions.image_generation.extension import EXTENSION

__all__ = ["EXTENSION"]
