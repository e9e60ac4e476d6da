"""The audit trail outside the database: its check, DICOM audit messages, and replay."""
