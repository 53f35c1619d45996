"""Cloud Logging and its BigQuery sinks on loopback: log files in, rows out."""
