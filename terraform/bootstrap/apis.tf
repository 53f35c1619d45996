# APIs stay on when this is destroyed: something else in the project may use them.

locals {
  _needed_apis = [
    "artifactregistry", "bigquery", "certificatemanager", "cloudbuild", "cloudresourcemanager", "cloudscheduler",
    "compute", "firestore", "iam", "iamcredentials", "logging", "monitoring", "run", "secretmanager", "serviceusage",
    "storage", "sts",
  ]
  apis = setunion(local._needed_apis, var.optional_apis)
}

resource "google_project_service" "api" {
  for_each = local.apis

  project                    = var.project_id
  service                    = "${each.key}.googleapis.com"
  disable_on_destroy         = false
  disable_dependent_services = false
}
