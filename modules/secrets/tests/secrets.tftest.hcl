# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id = "demo-project"
  names      = ["openai-api-key", "stripe-api-key"]
}

run "google_chooses_the_place_unless_told" {
  command = plan

  assert {
    condition     = length(google_secret_manager_secret.main["openai-api-key"].replication[0].auto) == 1
    error_message = "Without locations the replication is automatic."
  }

  assert {
    condition     = alltrue([for secret in google_secret_manager_secret.main : secret.deletion_protection])
    error_message = "The default is what production should be."
  }

  assert {
    condition     = google_secret_manager_secret.main["stripe-api-key"].version_destroy_ttl == "604800s"
    error_message = "A version that was destroyed by mistake can be brought back for a week."
  }
}

run "values_can_be_kept_in_named_regions" {
  command = plan

  variables {
    locations = ["europe-west1", "europe-west4"]
  }

  assert {
    condition     = [for replica in google_secret_manager_secret.main["openai-api-key"].replication[0].user_managed[0].replicas : replica.location] == ["europe-west1", "europe-west4"]
    error_message = "Values stay in the regions that are named."
  }
}

run "an_environment_variables_name_is_no_secrets_id" {
  command = plan

  variables {
    names = ["OPENAI_API_KEY"]
  }

  expect_failures = [var.names]
}

run "a_destroyed_version_can_be_brought_back_for_a_day_at_least" {
  command = plan

  variables {
    version_destroy_delay_days = 0
  }

  expect_failures = [var.version_destroy_delay_days]
}
