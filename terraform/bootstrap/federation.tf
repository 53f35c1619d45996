# Workflows act as planner and applier without a key. A pool each: whoever is in a pool may act as its account, so what
# gets into a pool is decided by its provider's condition alone, on numbers that can't be taken over.

locals {
  _same_repository = "assertion.repository_id == \"${var.repository.id}\" && assertion.repository_owner_id == \"${var.repository.owner_id}\""

  pools = {
    planner = {
      account     = google_service_account.planner.name
      description = "Any workflow of the repository; pull requests of forks get no token."
      condition   = local._same_repository
    }
    applier = {
      account     = google_service_account.applier.name
      description = "Workflows on the main branch in the protected environment ${var.environment}."
      condition   = "${local._same_repository} && assertion.ref == \"refs/heads/main\" && assertion.environment == \"${var.environment}\""
    }
  }
}

resource "google_iam_workload_identity_pool" "main" {
  for_each = local.pools

  project                   = var.project_id
  workload_identity_pool_id = "tallygate-${each.key}"
  display_name              = "Tallygate ${each.key}"
  description               = each.value.description
  disabled                  = false

  depends_on = [google_project_service.api]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  for_each = local.pools

  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.main[each.key].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"
  description                        = each.value.description
  attribute_condition                = each.value.condition
  disabled                           = false

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository_id"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "workflow" {
  for_each = local.pools

  service_account_id = each.value.account
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.main[each.key].name}/*"
}
