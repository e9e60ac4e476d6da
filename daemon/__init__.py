"""The service: listen, work, report, deliver, and the command line."""
