"""Decides whether `image_gen.imagegen` is offered in a turn. Pure; asked anew for every request to the model.

    image_generation on ─► imagegenext on ─► provider makes pictures ─► login and plan ─► model takes images ─► Visible
    └ kill switch ┘        └ this tool's flag ┘   └──────── shared with the hosted tool: picture_eligibility ────────┘

The first gate that says no gives the reason. Namespaces are no gate: for a provider without them the planner turns the
tool into a plain function.
"""

from __future__ import annotations

from typing import Final

from app_server.extension_api import Exposure, Hidden, ToolName, TurnScope
from app_server.extension_api.eligibility import picture_eligibility

TOOL_NAME: Final = ToolName("image_gen", "imagegen")
KILL_SWITCH: Final = "image_generation"
FLAG: Final = "imagegenext"


def image_generation_gate(scope: TurnScope) -> Exposure:
    """Visible, or Hidden with the first gate that is closed and what would open it."""
    if scope.features.enabled(KILL_SWITCH) and not scope.features.enabled(FLAG):
        state = scope.features.states.get(FLAG)
        why = state.reason if state is not None else "unknown to this server"
        return Hidden(f"the feature {FLAG} is {why}; turn it on with --enable {FLAG} or under [features]")
    return picture_eligibility(scope, standalone=True)
