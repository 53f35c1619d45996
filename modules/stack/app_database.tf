# The app database: tenants, hashed keys, live spend, the Stripe inbox.

module "app_database" {
  source = "../app-database"

  project_id          = var.project_id
  location            = local.database_location
  deletion_protection = var.deletion_protection
  kms_key_name        = local.kms_key_name

  depends_on = [terraform_data.immutable]
}
