# The whole gateway of this environment. The files of dev, staging and prod are the same; only values differ.

provider "google" {
  project = var.project_id
  region  = var.places.primary_region
}

module "stack" {
  source = "../../modules/stack"

  project_id         = var.project_id
  environment        = var.environment
  places             = var.places
  exposure           = var.exposure
  domains            = var.domains
  scaling            = var.scaling
  dedicated_services = var.dedicated_services
  livemode           = var.livemode
  invoicing          = var.invoicing
  secret_versions    = var.secret_versions
  alert_channels     = var.alert_channels
  artifacts          = var.artifacts
  image_digest       = var.image_digest
  functions_archive  = var.functions_archive
  retention          = var.retention
  options            = var.options

  deletion_protection = var.deletion_protection
  labels              = var.labels

  catalogue = file("${path.root}/catalogue.json")
  plans     = file("${path.root}/plans.json")
}
