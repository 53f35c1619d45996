# Catalogue and plans, as files that the proxy and the functions mount.

locals {
  catalogue = jsondecode(var.catalogue)
  plans     = jsondecode(var.plans)

  catalogue_file = "catalogue.json"
  plans_file     = "plans.json"

  configuration_mount = "/etc/tallygate"
}

module "configuration" {
  source = "../configuration"

  project_id          = var.project_id
  bucket              = "${var.project_id}-tallygate-configuration"
  location            = local.data_location
  labels              = local.labels
  deletion_protection = var.deletion_protection
  kms_key_name        = local.kms_key_name

  files = {
    (local.catalogue_file) = var.catalogue
    (local.plans_file)     = var.plans
  }

  readers = {
    proxy          = google_service_account.proxy.member
    stripe_sync    = google_service_account.stripe_sync.member
    stripe_webhook = google_service_account.stripe_webhook.member
    usage_reporter = google_service_account.usage_reporter.member
  }
}
