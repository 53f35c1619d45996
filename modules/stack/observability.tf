# What is measured, shown, promised and alerted on.

module "observability" {
  source = "../observability"

  project_id  = var.project_id
  environment = var.environment
  labels      = local.labels
  location    = local.log_location
  log_bucket  = "tallygate"
  host        = local.is_public ? var.domains.hosts[0] : null
  models      = keys(local.catalogue.models)
  jobs        = jsondecode(file("${path.module}/../scheduler/jobs.json"))

  channels = local.notification_channels

  names = {
    service        = "tallygate-proxy"
    ledger_dataset = module.usage_warehouse.datasets.ledger
    functions = {
      stripe_sync      = "tallygate-stripe-sync"
      stripe_webhook   = "tallygate-stripe-webhook"
      usage_reconciler = "tallygate-usage-reconciler"
      usage_reporter   = "tallygate-usage-reporter"
    }
  }

  # Panels by tenant read the log bucket by its name.
  depends_on = [module.usage_warehouse]
}
