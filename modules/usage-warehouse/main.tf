# Two datasets: usage_raw is written by Cloud Logging alone, the ledger by the functions alone.

locals {
  # What stands where: the tables with how they are laid out, one schema file each.
  # Keys of tables.json are the datasets' default ids.
  _tables = jsondecode(file("${path.module}/tables.json"))

  raw_tables    = local._tables["usage_raw"]
  ledger_tables = local._tables["ledger"]

  dataset_labels = var.labels

  raw_retention_ms = var.raw_retention_days * 24 * 60 * 60 * 1000
}

resource "google_bigquery_dataset" "raw" {
  project                         = var.project_id
  dataset_id                      = var.datasets.raw
  location                        = var.data_location
  description                     = "Usage lines and request logs as Cloud Logging delivers them: possibly twice, late, or out of order."
  labels                          = local.dataset_labels
  default_partition_expiration_ms = local.raw_retention_ms
  delete_contents_on_destroy      = !var.deletion_protection
  max_time_travel_hours           = "168"
  storage_billing_model           = "LOGICAL"

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_dataset" "ledger" {
  project                    = var.project_id
  dataset_id                 = var.datasets.ledger
  location                   = var.data_location
  description                = "What is billed and why: sealed usage, its deliveries, billing segments, and the views on raw usage."
  labels                     = local.dataset_labels
  delete_contents_on_destroy = !var.deletion_protection
  max_time_travel_hours      = "168"
  storage_billing_model      = "LOGICAL"

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}
