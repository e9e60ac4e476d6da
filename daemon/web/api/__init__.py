"""What a program may ask, under /api/v1; the pages use it too. Each module has a `router`."""
