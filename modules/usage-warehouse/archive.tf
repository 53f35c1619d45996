# Every usage line once more, as files that nobody can change: the evidence behind an invoice when the warehouse is
# lost or in doubt.

resource "google_storage_bucket" "archive" {
  project                     = var.project_id
  name                        = var.archive.bucket
  location                    = upper(var.data_location)
  storage_class               = "STANDARD"
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  dynamic "retention_policy" {
    for_each = var.archive.retention_days == 0 ? [] : [var.archive.retention_days]

    content {
      retention_period = tostring(retention_policy.value * 24 * 60 * 60)
      is_locked        = var.archive.locked
    }
  }

  # Read once in a dispute, if ever.
  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = "ARCHIVE"
    }

    condition {
      age        = 90
      with_state = "ANY"
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  dynamic "encryption" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      default_kms_key_name = encryption.value
    }
  }
}

resource "google_logging_project_sink" "archive" {
  project                = var.project_id
  name                   = "tallygate-archive"
  description            = "Usage events and admit lines, as files."
  destination            = "storage.googleapis.com/${google_storage_bucket.archive.name}"
  filter                 = file("${path.module}/filters/usage-stdout.lql")
  unique_writer_identity = true
}

resource "google_storage_bucket_iam_member" "archive_writer" {
  bucket = google_storage_bucket.archive.name
  role   = "roles/storage.objectCreator"
  member = google_logging_project_sink.archive.writer_identity
}
