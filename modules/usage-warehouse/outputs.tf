output "archive_bucket" {
  description = "Bucket that keeps all usage lines as evidence."
  value       = google_storage_bucket.archive.name
}

output "datasets" {
  description = "Ids of the two datasets, as the functions' settings TALLYGATE_DATASET_RAW and _LEDGER name them."
  value = {
    raw    = google_bigquery_dataset.raw.dataset_id
    ledger = google_bigquery_dataset.ledger.dataset_id
  }
}

output "log_bucket" {
  description = "Log bucket of the gateway's own logs, by resource name."
  value       = google_logging_project_bucket_config.main.id
}

output "sink_writers" {
  description = "The identities by which Cloud Logging writes the raw dataset, by sink."
  value       = local.sink_writers
}

output "views" {
  description = "Names of the views in the ledger."
  value       = sort(keys(local.view_queries))
}
