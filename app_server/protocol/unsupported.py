"""Owns the methods of the protocol that this server knows and does not do, each with its reason.

`rpc/dispatch.py` answers them with `NotSupported`, so that a client can tell "not here" from a slip in the name. A
method that gets a handler leaves the table: `tests/conformance/test_manifest.py` holds it and the schema together.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final


def _rows(reason: str, methods: str) -> Iterable[tuple[str, str]]:
    return ((method, reason) for method in methods.split())


UNSUPPORTED: Final[Mapping[str, str]] = MappingProxyType(
    dict(
        chain(
            _rows(
                "no identity of a person is verified by this server",
                "userVerification/status userVerification/enroll userVerification/delete userVerification/verify "
                "userVerification/cancel",
            ),
            _rows(
                "sampling outside of a turn is not offered; start an ephemeral thread and a turn in it",
                "thread/sample thread/sample/cancel thread/prediction/request",
            ),
            _rows(
                "no tool of this server elicits input of its own",
                "thread/increment_elicitation thread/decrement_elicitation",
            ),
            _rows(
                "there is no queue of prompts; send turn/start when the turn before has ended, or turn/steer",
                "thread/queue/add thread/queue/list thread/queue/update thread/queue/delete thread/queue/reorder "
                "thread/queue/start",
            ),
            _rows(
                "files are attached to messages; a thread has no attachments of its own",
                "thread/attachment/add thread/attachment/list thread/attachmentOwner/list thread/attachment/remove",
            ),
            _rows(
                "threads are not grouped into sections and projects",
                "thread/section/move threadSection/create threadSection/update threadSection/delete project/read "
                "project/create project/import project/update project/move project/delete",
            ),
            _rows(
                "nothing is remembered beyond a thread",
                "thread/memoryMode/set thread/memory/read memory/status memory/reset",
            ),
            _rows("the log is a database that needs no compression", "rollout/compress"),
            _rows(
                "no second model judges approvals or plans",
                "thread/approveGuardianDeniedAction thread/guardianReview thread/prepareApprovedPlan",
            ),
            _rows(
                "no command of a turn outlives it",
                "thread/backgroundTerminals/clean thread/backgroundTerminals/terminate",
            ),
            _rows("the texts of threads are not indexed; use thread/items/list", "thread/searchOccurrences"),
            _rows("one item cannot be read alone; use thread/items/list", "thread/items/read thread/timeline/list"),
            _rows(
                "skills are the SKILL.md files that are found, all of them enabled; change the files",
                "skills/extraRoots/set skills/config/write",
            ),
            _rows(
                "there are no plugins and no marketplaces",
                "marketplace/add marketplace/remove marketplace/upgrade plugin/search plugin/reconcile plugin/read "
                "plugin/skill/read plugin/share/save plugin/share/updateTargets plugin/share/list "
                "plugin/share/checkout plugin/share/delete plugin/install plugin/uninstall",
            ),
            _rows("there are no apps", "app/read app/installed"),
            _rows(
                "settings are changed for the next turn, with turn/start or thread/settings/update",
                "turn/settings/update",
            ),
            _rows(
                "there are no voice conversations",
                "thread/realtime/start thread/realtime/appendAudio thread/realtime/appendText "
                "thread/realtime/appendSpeech thread/realtime/stop thread/realtime/listVoices",
            ),
            _rows(
                "providers are signed by key or login, not by a gateway's OAuth",
                "account/gatewayOAuth/read account/gatewayOAuth/login account/gatewayOAuth/cancel",
            ),
            _rows("write the table model_providers with config/value/write", "modelProvider/config/write"),
            _rows(
                "the server cannot be controlled from outside of its connections",
                "remoteControl/enable remoteControl/disable remoteControl/status/read remoteControl/pairing/start "
                "remoteControl/pairing/status remoteControl/client/list remoteControl/client/revoke",
            ),
            _rows("it exists in the protocol to test clients", "mock/experimentalMethod"),
            _rows("threads run on this machine alone", "environment/add environment/status"),
            _rows(
                "there are no MCP servers",
                "mcpServer/oauth/login config/mcpServer/reload mcpServer/resource/read mcpServer/event/stream/start "
                "mcpServer/event/stream/stop mcpServer/tool/call",
            ),
            _rows("there is no sandbox to set up", "windowsSandbox/setupStart"),
            _rows(
                "models of Amazon Bedrock and Google Cloud are not reached by logins of their own; write a table "
                "[model_providers.<id>] for a gateway to them",
                "account/bedrock/discover account/bedrock/setup account/gcp/setup",
            ),
            _rows("there is one login at a time", "accountSession/list accountSession/switch"),
            _rows(
                "what an account has bought or been told is known to its web page alone",
                "account/securitySetup/read account/rateLimitResetCredit/consume "
                "account/workspaceMessages/read account/sendAddCreditsNudgeEmail",
            ),
            _rows("nothing is sent to anybody; write an issue of the project", "feedback/upload feedback/save"),
            _rows(
                "processes are started with command/exec",
                "process/spawn process/writeStdin process/kill process/resizePty",
            ),
            _rows(
                "settings of other agents are not imported",
                "externalAgentConfig/detect externalAgentConfig/import externalAgentConfig/import/recordHistory "
                "externalAgentConfig/import/readHistories",
            ),
        )
    )
)
"""Method → why, as the end of a sentence."""
