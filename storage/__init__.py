"""S3: keys, signed URLs, and what the service itself asks. Only this package knows the SDK."""
