# The Stripe webhook: verifies an event and stores it. Public in both exposures: Stripe's signature is its authentication.

resource "google_service_account" "stripe_webhook" {
  project      = var.project_id
  account_id   = "tallygate-stripe-webhook"
  display_name = "Tallygate stripe webhook"
  description  = "Stores Stripe's events in the inbox, and tries once to apply them."
}

resource "google_project_iam_member" "stripe_webhook_database" {
  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.stripe_webhook.member

  condition {
    title       = "the gateway's database"
    description = "No other database of the project."
    expression  = local.database_condition
  }
}

# Reads the newest versions at run time, so it lists them too.
resource "google_project_iam_member" "stripe_webhook_secret" {
  for_each = {
    for pair in setproduct(values(local.stripe_secrets), ["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"]) :
    "${pair[0]}/${pair[1]}" => { secret = pair[0], role = pair[1] }
  }

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.stripe_webhook.member

  condition {
    title       = "the secret ${each.value.secret}"
    description = "No other secret of the project."
    expression  = local.secret_conditions[each.value.secret]
  }
}

module "stripe_webhook" {
  source = "../function"

  project_id            = var.project_id
  region                = local.primary_region
  name                  = "tallygate-stripe-webhook"
  entry_point           = "stripe_webhook"
  archive               = local.functions_archive
  build                 = local.functions_build
  labels                = local.labels
  deletion_protection   = var.deletion_protection
  service_account_email = google_service_account.stripe_webhook.email
  environment           = local.subscription_environment
  configuration         = local.functions_configuration
  exposure              = local.is_public ? "edge" : "open"
  resources             = { cpu = "1", memory = "512Mi", concurrency = 20, max_instances = 10 }
  timeout_seconds       = 30

  depends_on = [
    google_artifact_registry_repository_iam_member.build,
    google_project_iam_member.build_source,
    google_project_iam_member.stripe_webhook_database,
    google_project_iam_member.stripe_webhook_secret,
  ]
}
