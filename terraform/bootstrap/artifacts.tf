# Where releases are put: images by digest, archives by hash. What was published is never changed.

locals {
  # The multi-regions have another name in each product.
  _registry_location = lookup({ EU = "europe", US = "us" }, var.places.artifacts_location, var.places.artifacts_location)
}

resource "google_artifact_registry_repository" "images" {
  project                = var.project_id
  location               = local._registry_location
  repository_id          = "tallygate"
  description            = "Images of the proxy."
  format                 = "DOCKER"
  mode                   = "STANDARD_REPOSITORY"
  labels                 = local.labels
  cleanup_policy_dry_run = false

  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-the-last-fifty"
    action = "KEEP"

    most_recent_versions {
      keep_count = 50
    }
  }

  cleanup_policies {
    id     = "delete-what-is-older-than-a-year"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "31536000s"
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_storage_bucket" "functions" {
  project                     = var.project_id
  name                        = "${var.project_id}-functions"
  location                    = upper(var.places.artifacts_location)
  storage_class               = "STANDARD"
  labels                      = local.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  depends_on = [google_project_service.api]
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = var.artifact_readers

  project    = var.project_id
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = var.artifact_readers

  bucket = google_storage_bucket.functions.name
  role   = "roles/storage.objectViewer"
  member = each.value
}
