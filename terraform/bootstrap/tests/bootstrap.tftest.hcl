# Who may plan and who may apply, and what is refused.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  environment = "dev"
  project_id  = "demo-project"
  places      = { artifacts_location = "EU", state_location = "EU" }
  repository  = { id = "123456789", owner_id = "987654321" }
}

run "only_the_protected_environment_on_main_applies" {
  command = plan

  assert {
    condition     = google_iam_workload_identity_pool_provider.github["applier"].attribute_condition == "assertion.repository_id == \"123456789\" && assertion.repository_owner_id == \"987654321\" && assertion.ref == \"refs/heads/main\" && assertion.environment == \"dev\""
    error_message = "The applier's condition must name repository and owner by number, the branch and the environment."
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.github["planner"].attribute_condition == "assertion.repository_id == \"123456789\" && assertion.repository_owner_id == \"987654321\""
    error_message = "The planner's condition must name repository and owner by number."
  }
}

run "the_pipeline_reads_no_secret" {
  command = plan

  assert {
    condition     = length(google_iam_deny_policy.no_secrets) == 1 && tolist(google_iam_deny_policy.no_secrets[0].rules[0].deny_rule[0].denied_permissions) == tolist(["secretmanager.googleapis.com/versions.access"])
    error_message = "Planner and applier are denied the values of secrets."
  }

  assert {
    condition     = length([for permission in local.planner_permissions : permission if !can(regex("\\.(get|getIamPolicy|getMetadata)$", permission))]) == 0
    error_message = "The planner reads configuration, and nothing else."
  }
}

run "the_applier_grants_only_roles_in_use" {
  command = plan

  assert {
    condition     = strcontains(google_project_iam_member.applier_grants.condition[0].expression, "modifiedGrantsByRole', []).hasOnly(['roles/aiplatform.user', ")
    error_message = "The applier's right to grant is limited by modifiedGrantsByRole."
  }

  assert {
    condition     = !contains(local.granted_roles, "roles/logging.logWriter") && !contains(local.granted_roles, "roles/owner")
    error_message = "Nobody is granted a right to forge usage lines, or everything."
  }
}

run "production_is_protected_by_default" {
  command = plan

  assert {
    condition     = !google_storage_bucket.state.force_destroy && google_storage_bucket.state.versioning[0].enabled
    error_message = "State is versioned and not destroyed with its content."
  }
}

run "a_repositorys_name_is_refused" {
  command = plan

  variables {
    repository = { id = "owner/name", owner_id = "owner" }
  }

  expect_failures = [var.repository]
}

run "secrets_without_stripes_are_refused" {
  command = plan

  variables {
    secrets = ["openai-api-key"]
  }

  expect_failures = [var.secrets]
}

run "an_unknown_api_is_refused" {
  command = plan

  variables {
    optional_apis = ["container"]
  }

  expect_failures = [var.optional_apis]
}

run "a_zone_is_no_place" {
  command = plan

  variables {
    places = { artifacts_location = "europe-west1-b", state_location = "EU" }
  }

  expect_failures = [var.places]
}
