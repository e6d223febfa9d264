"""What the server tells Prometheus about itself."""
