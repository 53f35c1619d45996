# Containers of secrets. Their values are added by the command line, once.

module "secrets" {
  source = "../../modules/secrets"

  project_id          = var.project_id
  names               = var.secrets
  locations           = var.places.secret_regions
  labels              = local.labels
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.api]
}
