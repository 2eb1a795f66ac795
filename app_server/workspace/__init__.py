"""Files, commands and repositories of the user: what fs/*, command/exec and shell turns work on."""
