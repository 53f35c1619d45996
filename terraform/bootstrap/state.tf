# Terraform's state: this root's and the environment's. It holds no secret values.

resource "google_storage_bucket" "state" {
  project                     = var.project_id
  name                        = "${var.project_id}-tfstate"
  location                    = upper(var.places.state_location)
  storage_class               = "STANDARD"
  labels                      = local.labels
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
      num_newer_versions = 100
      with_state         = "ARCHIVED"
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 2592000
  }

  depends_on = [google_project_service.api]
}
