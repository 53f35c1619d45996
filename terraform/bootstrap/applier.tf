# The applier makes what modules/stack declares, from the main branch and the protected environment only.

resource "google_service_account" "applier" {
  project      = var.project_id
  account_id   = "tallygate-applier"
  display_name = "Tallygate applier"
  description  = "Applies this environment and publishes releases."

  depends_on = [google_project_service.api]
}

locals {
  # The smoke test after an apply asks the warehouse for its usage event, and the logs for the last job run.
  applier_roles = toset([
    "roles/artifactregistry.admin",
    "roles/bigquery.dataOwner",
    "roles/bigquery.jobUser",
    "roles/certificatemanager.owner",
    "roles/cloudkms.admin",
    "roles/cloudscheduler.admin",
    "roles/compute.loadBalancerAdmin",
    "roles/compute.networkAdmin",
    "roles/compute.securityAdmin",
    "roles/datastore.owner",
    "roles/dns.admin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/logging.configWriter",
    "roles/logging.viewer",
    "roles/monitoring.editor",
    "roles/run.admin",
    "roles/run.sourceDeveloper",
    "roles/storage.admin",
  ])

  # Roles that modules/stack grants in the project: the applier may grant and take back these, and no others.
  granted_roles = [
    "roles/aiplatform.user",
    "roles/bigquery.jobUser",
    "roles/datastore.user",
    "roles/monitoring.viewer",
    "roles/secretmanager.secretAccessor",
    "roles/secretmanager.viewer",
    "roles/storage.objectViewer",
  ]
}

resource "google_project_iam_member" "applier" {
  for_each = local.applier_roles

  project = var.project_id
  role    = each.key
  member  = google_service_account.applier.member
}

resource "google_project_iam_member" "applier_grants" {
  project = var.project_id
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.applier.member

  condition {
    title       = "only roles in use"
    description = "Grants and takes back the roles that the gateway's identities have."
    expression  = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([${join(", ", [for role in local.granted_roles : "'${role}'"])}])"
  }
}

# The applier may grant the right to read secrets, so it could grant it to itself. A denial is stronger than any grant,
# and the applier can't change denials.
resource "google_iam_deny_policy" "no_secrets" {
  count = var.deny_secret_reads ? 1 : 0

  parent       = urlencode("cloudresourcemanager.googleapis.com/projects/${var.project_id}")
  name         = "tallygate-pipeline-reads-no-secrets"
  display_name = "The pipeline reads no secrets"

  rules {
    description = "Neither planner nor applier reads a secret's value."

    deny_rule {
      denied_principals = [
        for account in [google_service_account.applier, google_service_account.planner] :
        "principal://iam.googleapis.com/projects/-/serviceAccounts/${account.email}"
      ]
      denied_permissions = ["secretmanager.googleapis.com/versions.access"]
    }
  }
}
