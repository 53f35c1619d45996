# Catalogue and plans as files that services mount. An object is changed in place; its earlier versions are kept.

resource "google_storage_bucket" "main" {
  project                     = var.project_id
  name                        = var.bucket
  location                    = upper(var.location)
  storage_class               = "STANDARD"
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      num_newer_versions = 50
      with_state         = "ARCHIVED"
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

resource "google_storage_bucket_object" "file" {
  for_each = var.files

  bucket        = google_storage_bucket.main.name
  name          = each.key
  content       = each.value
  content_type  = "application/json"
  cache_control = "no-store"
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = var.readers

  bucket = google_storage_bucket.main.name
  role   = "roles/storage.objectViewer"
  member = each.value
}
