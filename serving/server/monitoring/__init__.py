"""The server's metrics, as Prometheus reads them."""
