"""imagegen-app-server: an open JSON-RPC app-server that treats pictures as first-class. See ARCHITECTURE.md."""
