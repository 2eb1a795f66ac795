"""The built-in extensions, by module name: the host loads them, nobody imports them. A new one is one line here."""

BUILTIN = ("extensions.image_generation", "extensions.view_image")
