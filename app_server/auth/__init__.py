"""Who is logged in, and how a request to a provider is signed. Talks to no network; writes nothing but `auth.json`."""
