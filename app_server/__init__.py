"""imagegen-app-server: an open JSON-RPC app-server that treats pictures as first-class. Start reading at ARCHITECTURE.md."""
