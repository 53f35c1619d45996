# Optional: a key of your own for what is kept, from the first apply on.

locals {
  kms_key_name = var.options.customer_managed_key == null ? null : module.encryption_key[0].name

  # Google's own identities, which encrypt on our behalf. A service makes its identity when it is first used:
  # docs/playbooks/tasks/first-apply.md names the call for each.
  _agents = {
    bigquery  = "bq-${local._project_number}@bigquery-encryption.iam.gserviceaccount.com"
    firestore = "service-${local._project_number}@gcp-sa-firestore.iam.gserviceaccount.com"
    logging   = "service-${local._project_number}@gcp-sa-logging.iam.gserviceaccount.com"
    storage   = "service-${local._project_number}@gs-project-accounts.iam.gserviceaccount.com"
  }
}

module "encryption_key" {
  source = "../encryption-key"
  count  = var.options.customer_managed_key == null ? 0 : 1

  project_id    = var.project_id
  labels        = local.labels
  location      = local.key_location
  rotation_days = var.options.customer_managed_key.rotation_days
  users         = { for service, agent in local._agents : service => "serviceAccount:${agent}" }
}
