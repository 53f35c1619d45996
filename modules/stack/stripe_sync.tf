# The Stripe sync: takes events from the inbox and makes the tenants what Stripe says.

resource "google_service_account" "stripe_sync" {
  project      = var.project_id
  account_id   = "tallygate-stripe-sync"
  display_name = "Tallygate stripe sync"
  description  = "Writes tenants and billing segments as Stripe's subscriptions say."
}

resource "google_project_iam_member" "stripe_sync_database" {
  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.stripe_sync.member

  condition {
    title       = "the gateway's database"
    description = "No other database of the project."
    expression  = local.database_condition
  }
}

# Running a query is a right in the project; what a query reads and writes is decided by the datasets.
resource "google_project_iam_member" "stripe_sync_queries" {
  project = var.project_id
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.stripe_sync.member
}

# Reads the newest versions at run time, so it lists them too.
resource "google_project_iam_member" "stripe_sync_secret" {
  for_each = {
    for pair in setproduct([local.stripe_secrets.api_key], ["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"]) :
    "${pair[0]}/${pair[1]}" => { secret = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.stripe_sync.member

  condition {
    title       = "the secret ${each.value.secret}"
    description = "No other secret of the project."
    expression  = local.secret_conditions[each.value.secret]
  }
}

module "stripe_sync" {
  source = "../function"

  project_id            = var.project_id
  region                = local.primary_region
  name                  = "tallygate-stripe-sync"
  entry_point           = "stripe_sync"
  archive               = local.functions_archive
  build                 = local.functions_build
  labels                = local.labels
  deletion_protection   = var.deletion_protection
  service_account_email = google_service_account.stripe_sync.email
  environment           = local.subscription_environment
  configuration         = local.functions_configuration
  resources             = local.job_resources
  invokers              = { scheduler = google_service_account.scheduler.member }

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_source,
    google_project_iam_member.stripe_sync_database,
    google_project_iam_member.stripe_sync_queries,
    google_project_iam_member.stripe_sync_secret,
  ]
}
