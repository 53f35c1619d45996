# The usage reporter: seals usage hours and sends them to Stripe, or to the option cloudevents.

resource "google_service_account" "usage_reporter" {
  project      = var.project_id
  account_id   = "tallygate-usage-reporter"
  display_name = "Tallygate usage reporter"
  description  = "Seals usage in the ledger and sends it to Stripe."
}

resource "google_project_iam_member" "usage_reporter_database" {
  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.usage_reporter.member

  condition {
    title       = "the gateway's database"
    description = "No other database of the project."
    expression  = local.database_condition
  }
}

# Running a query is a right in the project; what a query reads and writes is decided by the datasets.
resource "google_project_iam_member" "usage_reporter_queries" {
  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.usage_reporter.member
}

# Reads the newest versions at run time, so it lists them too.
resource "google_project_iam_member" "usage_reporter_secret" {
  for_each = {
    for pair in setproduct(local.reporter_secrets, ["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"]) :
    "${pair[0]}/${pair[1]}" => { secret = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.usage_reporter.member

  condition {
    title       = "the secret ${each.value.secret}"
    description = "No other secret of the project."
    expression  = local.secret_conditions[each.value.secret]
  }
}

module "usage_reporter" {
  source = "../function"

  project_id            = var.project_id
  region                = local.primary_region
  name                  = "tallygate-usage-reporter"
  entry_point           = "usage_reporter"
  archive               = local.functions_archive
  build                 = local.functions_build
  labels                = local.labels
  deletion_protection   = var.deletion_protection
  service_account_email = google_service_account.usage_reporter.email
  environment           = local.reporting_environment
  configuration         = local.functions_configuration
  resources             = local.job_resources
  invokers              = { scheduler = google_service_account.scheduler.member }

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_source,
    google_project_iam_member.usage_reporter_database,
    google_project_iam_member.usage_reporter_queries,
    google_project_iam_member.usage_reporter_secret,
  ]
}
