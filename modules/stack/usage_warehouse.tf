# Where usage lines become what is billed: sinks, raw lines, ledger, archive, logs.

module "usage_warehouse" {
  source = "../usage-warehouse"

  project_id          = var.project_id
  data_location       = local.data_location
  labels              = local.labels
  deletion_protection = var.deletion_protection
  kms_key_name        = local.kms_key_name
  raw_retention_days  = var.retention.raw_days

  archive = {
    bucket         = "${var.project_id}-tallygate-usage-archive"
    retention_days = var.retention.archive_days
    locked         = var.retention.archive_locked
  }

  log_bucket = {
    location       = local.log_location
    retention_days = var.retention.log_days
  }

  ledger_writers = {
    usage_reporter   = google_service_account.usage_reporter.member
    usage_reconciler = google_service_account.usage_reconciler.member
  }

  segment_writers = {
    stripe_sync = google_service_account.stripe_sync.member
  }

  depends_on = [terraform_data.immutable]
}
