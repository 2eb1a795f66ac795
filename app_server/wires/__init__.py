"""The connections of the one HTTP client: how they are kept and read, and how a body is taken as it comes."""
