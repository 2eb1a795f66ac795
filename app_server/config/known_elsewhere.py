"""Settings of the reference that mean nothing here. A table: files shared with it are read in silence.

They stay in `Config.raw`. A name that is neither here nor in `keys.py` is most likely a slip, and makes a warning.
"""

_TOP = """
    agents allow_login_shell allow_symlinked_codex_home analytics approvals_reviewer apps apps_mcp_product_sku
    audio auto_review background_terminal_max_timeout browser_use check_for_update_on_startup
    cli_auth_credentials_store client_search_provider cloud compact_prompt computer_use daybreak
    default_permissions desktop developer_instructions disable_paste_burst experimental_compact_prompt_file
    experimental_realtime_start_instructions experimental_realtime_webrtc_call_base_url
    experimental_realtime_ws_backend_prompt experimental_realtime_ws_base_url experimental_realtime_ws_model
    experimental_realtime_ws_startup_context experimental_thread_store experimental_thread_store_endpoint
    experimental_use_unified_exec_tool feedback file_opener forced_chatgpt_workspace_id forced_login_method
    ghost_snapshot goals hide_agent_reasoning history hooks include_apps_instructions
    include_collaboration_mode_instructions include_environment_context include_environment_context_time
    include_permissions_instructions instructions js_repl_node_module_dirs js_repl_node_path log_dir
    marketplaces mcp_enterprise_managed_auth mcp_oauth_callback_port mcp_oauth_callback_url
    mcp_oauth_credentials_store mcp_optional_startup_grace_ms mcp_servers memories
    model_auto_compact_token_limit model_auto_compact_token_limit_scope model_catalog_json
    model_instructions_file model_post_turn_compact_threshold_percent notice notify orchestrator oss_provider
    otel permissions personality plan_mode_reasoning_effort plugins profile profiles
    project_doc_fallback_filenames project_doc_max_bytes project_root_markers projects realtime
    responses_api_metadata review_model sandbox_workspace_write service_tier shell_environment_policy
    show_raw_agent_reasoning skills sqlite_home suppress_unstable_features_warning thread_unload_delay_secs
    tool_output_token_limit tool_suggest tools tui web_search windows
"""

_OLDER = """
    commit_attribution disable_response_storage experimental_instructions_file experimental_resume
    experimental_use_freeform_apply_patch experimental_use_rmcp_client include_apply_patch_tool
    model_max_output_tokens model_reasoning_summary_format model_supports_reasoning_summaries
    preferred_auth_method responses_originator_header_internal_override zsh_path
"""

_PROVIDER = """
    auth aws capabilities credential_file gateway_oauth location model_catalog_url project_id
    supports_standalone_web_search websocket_connect_timeout_ms
"""

TOP_LEVEL: frozenset[str] = frozenset((_TOP + _OLDER).split())
PROVIDER: frozenset[str] = frozenset(_PROVIDER.split())
