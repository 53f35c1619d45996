# The planner reads configuration and nothing else, for pull requests of the same repository: no data, no logs, no
# secrets. Its role is our own, because the ready-made ones for reading also read data.

resource "google_service_account" "planner" {
  project      = var.project_id
  account_id   = "tallygate-planner"
  display_name = "Tallygate planner"
  description  = "Plans changes of this environment; can't make them."

  depends_on = [google_project_service.api]
}

locals {
  planner_permissions = [
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.getIamPolicy",
    "bigquery.datasets.get",
    "bigquery.datasets.getIamPolicy",
    "bigquery.tables.get",
    "bigquery.tables.getIamPolicy",
    "cloudkms.cryptoKeys.get",
    "cloudkms.cryptoKeys.getIamPolicy",
    "cloudkms.keyRings.get",
    "cloudscheduler.jobs.get",
    "datastore.backupSchedules.get",
    "datastore.databases.get",
    "datastore.databases.getMetadata",
    "datastore.indexes.get",
    "datastore.operations.get",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "logging.buckets.get",
    "logging.exclusions.get",
    "logging.logMetrics.get",
    "logging.sinks.get",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "run.services.get",
    "run.services.getIamPolicy",
    "storage.buckets.get",
    "storage.buckets.getIamPolicy",
  ]

  # These read configuration only.
  _planner_roles = toset([
    "roles/certificatemanager.viewer",
    "roles/compute.viewer",
    "roles/dns.reader",
    "roles/monitoring.viewer",
  ])

  # Terraform reads its state, and the objects that it wrote.
  _planner_buckets = {
    configuration = "${var.project_id}-tallygate-configuration"
    state         = google_storage_bucket.state.name
  }
}

resource "google_project_iam_custom_role" "planner" {
  project     = var.project_id
  role_id     = "tallygatePlanner"
  title       = "Tallygate planner"
  description = "Reads what Terraform compares."
  permissions = local.planner_permissions
  stage       = "GA"
}

resource "google_project_iam_member" "planner_configuration" {
  project = var.project_id
  role    = google_project_iam_custom_role.planner.id
  member  = google_service_account.planner.member
}

resource "google_project_iam_member" "planner" {
  for_each = local._planner_roles

  project = var.project_id
  role    = each.key
  member  = google_service_account.planner.member
}

resource "google_project_iam_member" "planner_objects" {
  for_each = local._planner_buckets

  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.planner.member

  condition {
    title       = "the bucket of the ${each.key}"
    description = "No other bucket of the project."
    expression  = "resource.name.startsWith(\"projects/_/buckets/${each.value}/objects/\")"
  }
}
