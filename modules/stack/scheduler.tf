# When the functions run: jobs.json.

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = "tallygate-scheduler"
  display_name = "Tallygate scheduler"
  description  = "Calls the scheduled functions, and nothing else."
}

module "scheduler" {
  source = "../scheduler"

  project_id    = var.project_id
  region        = local.primary_region
  invoker_email = google_service_account.scheduler.email

  targets = {
    stripe_sync      = module.stripe_sync.uri
    usage_reconciler = module.usage_reconciler.uri
    usage_reporter   = module.usage_reporter.uri
  }
}
