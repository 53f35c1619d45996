output "environment_values" {
  description = "What the environment's terraform.tfvars and backend.hcl take from here."
  value = {
    artifacts = {
      functions_bucket = google_storage_bucket.functions.name
      image_repository = "${google_artifact_registry_repository.images.location}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
    }
    state_bucket = google_storage_bucket.state.name
  }
}

output "pipeline_variables" {
  description = "Variables of the repository's workflows, by name."
  value = merge([
    for role, account in { PLANNER                 = google_service_account.planner, APPLIER = google_service_account.applier } : {
      "${upper(var.environment)}_${role}"          = account.email
      "${upper(var.environment)}_${role}_PROVIDER" = google_iam_workload_identity_pool_provider.github[lower(role)].name
    }
  ]...)
}

output "secrets" {
  description = "Secrets that wait for a value."
  value       = module.secrets.ids
}
