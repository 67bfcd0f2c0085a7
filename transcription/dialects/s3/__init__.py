"""What of Amazon S3's API signed uploads need, at `/uploads/`. See README.md beside this file."""
