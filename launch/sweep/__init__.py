"""What lies in a sweep's folder."""
