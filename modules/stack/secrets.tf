# Which secrets there are, and how a right is held to one of them. The secrets themselves are made by
# terraform/bootstrap, because their values must be there before this is applied; so rights on them are rights in the
# project under a condition that names the secret.

locals {
  stripe_secrets = {
    api_key        = "stripe-api-key"
    webhook_secret = "stripe-webhook-secret"
  }

  # What the usage reporter reads: who is billed there, or the endpoint that takes usage in Stripe's place.
  reporter_secrets = setunion([local.stripe_secrets.api_key], var.options.cloudevents == null ? [] : ["cloudevents-token"])

  # Environment variable → secret: OPENAI_API_KEY is openai-api-key.
  _key_variables = toset([for model in values(local.catalogue.models) : model.api_key_env if can(model.api_key_env)])
  provider_keys = {
    for variable in local._key_variables : variable => {
      secret  = lower(replace(variable, "_", "-"))
      version = var.secret_versions[lower(replace(variable, "_", "-"))]
    }
  }
  provider_secrets = toset([for key in values(local.provider_keys) : key.secret])

  _project_number = data.google_project.main.number

  secret_conditions = {
    for secret in setunion(local.provider_secrets, values(local.stripe_secrets), local.reporter_secrets) : secret =>
    "resource.name == \"projects/${local._project_number}/secrets/${secret}\" || resource.name.startsWith(\"projects/${local._project_number}/secrets/${secret}/versions/\")"
  }

  database_condition = "resource.name == \"projects/${var.project_id}/databases/${module.app_database.name}\""
}
