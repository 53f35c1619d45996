# What not every environment wants.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id  = "demo-project"
  environment = "dev"
  places = {
    primary_region = "europe-west1"
    regions        = { europe-west1 = {} }
    data_location  = "EU"
  }
  exposure          = { mode = "public" }
  domains           = { hosts = ["llm.example.com"] }
  livemode          = false
  secret_versions   = { anthropic-api-key = "1", openai-api-key = "1" }
  alert_channels    = { team = { type = "email", labels = { email_address = "team@example.com" } } }
  artifacts         = { functions_bucket = "demo-functions", image_repository = "europe-docker.pkg.dev/demo-project/tallygate" }
  image_digest      = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  functions_archive = { object = "functions-000000000000.zip", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  catalogue         = file("../../terraform/dev/catalogue.json")
  plans             = file("../../terraform/dev/plans.json")
}

run "nothing_optional_by_default" {
  command = plan

  assert {
    condition = (
      length(module.egress) == 0 && length(module.encryption_key) == 0 && length(google_billing_budget.main) == 0 &&
      length(google_service_account.grafana) == 0 && length(google_project_iam_member.proxy_vertex_ai) == 0
    )
    error_message = "Options are off unless asked for."
  }
}

run "fixed_addresses_where_every_region_has_a_range" {
  command = plan

  variables {
    places = {
      primary_region = "europe-west1"
      regions        = { europe-west1 = { egress_range = "10.8.0.0/26" } }
      data_location  = "EU"
    }
  }

  assert {
    condition     = local.networks["europe-west1"].network == "tallygate-egress" && local.networks["europe-west1"].subnetwork == "tallygate-egress-europe-west1"
    error_message = "The proxy's traffic leaves through the network."
  }
}

run "a_key_of_your_own_is_used_by_four_services" {
  command = plan

  variables {
    options = { customer_managed_key = {} }
  }

  assert {
    condition     = length(module.encryption_key) == 1 && local.immutable.customer_managed_key
    error_message = "The key is made, and remembered as a choice that can't be taken back."
  }
}

run "a_budget_tells_the_channels_of_tickets" {
  command = plan

  variables {
    options = { budget = { billing_account = "000000-000000-000000", monthly_usd = 100 } }
  }

  assert {
    condition     = google_billing_budget.main[0].amount[0].specified_amount[0].units == "100" && tolist(google_billing_budget.main[0].budget_filter[0].projects) == tolist(["projects/123456789012"])
    error_message = "The budget is of this project alone."
  }
}

run "grafana_reads_metrics_without_a_key" {
  command = plan

  variables {
    options = { grafana = { impersonators = { grafana = "serviceAccount:grafana@other-project.iam.gserviceaccount.com" } } }
  }

  assert {
    condition     = google_project_iam_member.grafana_metrics["main"].role == "roles/monitoring.viewer" && length(google_service_account_iam_member.grafana_impersonator) == 1
    error_message = "Grafana reads metrics, by impersonation."
  }
}

run "vertex_ai_is_called_as_the_proxy" {
  command = plan

  variables {
    options = { vertex_ai = { location = "europe-west4" } }
    catalogue = jsonencode({ models = {
      for name, model in jsondecode(file("../../terraform/dev/catalogue.json")).models : name => merge(
        { for field, value in model : field => value if field != "api_key_env" || model.provider != "openai" },
        { provider = replace(model.provider, "openai", "vertex_ai") }
      )
    } })
  }

  assert {
    condition     = google_project_iam_member.proxy_vertex_ai[0].role == "roles/aiplatform.user"
    error_message = "No key: the proxy's own identity calls."
  }

  assert {
    condition     = keys(local.provider_keys) == ["ANTHROPIC_API_KEY"]
    error_message = "A model of Vertex AI asks for no secret."
  }

  assert {
    condition     = local.proxy_environment["TALLYGATE_VERTEX_LOCATION"] == "europe-west4"
    error_message = "The proxy is told where."
  }
}
