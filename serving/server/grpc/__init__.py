"""The gRPC port: services, admission control, health checks and TLS."""
