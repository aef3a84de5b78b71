"""A face followed through a video or before a camera."""
