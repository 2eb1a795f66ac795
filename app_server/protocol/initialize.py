"""Owns the handshake: who the client is, what it can do, what it does not want to hear."""

from app_server.protocol.base import Flag, JsonObject, Params, WireModel


class ClientInfo(Params):
    """The client as it names itself; the name becomes the originator of its threads."""

    name: str
    version: str
    title: str | None = None


class InitializeCapabilities(Params):
    """What the client opts in to, and the notifications (exact method names) it opts out of."""

    experimental_api: Flag = False
    request_attestation: Flag = False
    required_human_approval: Flag = False
    explicit_gateway_oauth: Flag = False
    mcp_server_openai_form_elicitation: Flag = False
    opt_out_notification_methods: tuple[str, ...] | None = None
    extensions: JsonObject | None = None


class InitializeParams(Params):
    client_info: ClientInfo
    capabilities: InitializeCapabilities | None = None


class InitializeResponse(WireModel):
    """`user_agent` is `<client>/<protocol version> (…)`; the paths and names are those of the server's machine."""

    user_agent: str
    codex_home: str
    platform_family: str
    platform_os: str
