"""The table of this server's feature flags: one row each.

A key that only the reference knows stands in `known_elsewhere.py`; it moves here when the thing it switches is built.
"""

from __future__ import annotations

from features.resolution import index_specs
from features.spec import FeatureSpec, Stage

FEATURES: tuple[FeatureSpec, ...] = (
    FeatureSpec(
        key="image_generation",
        stage=Stage.STABLE,
        default=True,
        title="Image generation",
        description="Pictures at all, hosted or standalone; off is a kill switch above every other image feature.",
    ),
    FeatureSpec(
        key="imagegenext",
        stage=Stage.UNDER_DEVELOPMENT,
        default=False,
        title="Standalone image generation",
        description="The image_gen.imagegen tool, run by this server, in place of the provider's hosted tool.",
        requires=("image_generation",),
    ),
    FeatureSpec(
        key="omit_app_server_notification_media",
        stage=Stage.UNDER_DEVELOPMENT,
        default=False,
        title="Notifications without media",
        description="Live messages name pictures by path and never hold their bytes, whatever the client takes.",
    ),
    FeatureSpec(
        key="view_image",
        stage=Stage.STABLE,
        default=True,
        title="Looking at picture files",
        description="The view_image tool, with which the model looks at a picture file of this machine.",
    ),
)

index_specs(FEATURES)  # two rows with one key must fail at import, with both titles
