"""The tool `view_image`: the model looks at a picture file of this machine."""

from extensions.view_image.extension import EXTENSION

__all__ = ["EXTENSION"]
