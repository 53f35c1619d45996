# What cannot be changed after the first apply is refused, with a pointer to what to do instead.

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
  exposure          = { mode = "private" }
  domains           = {}
  livemode          = false
  secret_versions   = { anthropic-api-key = "1", openai-api-key = "1" }
  alert_channels    = { team = { type = "email", labels = { email_address = "team@example.com" } } }
  artifacts         = { functions_bucket = "demo-functions", image_repository = "europe-docker.pkg.dev/demo-project/tallygate" }
  image_digest      = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  functions_archive = { object = "functions-000000000000.zip", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  catalogue         = file("../../terraform/dev/catalogue.json")
  plans             = file("../../terraform/dev/plans.json")
}

run "the_first_apply_remembers" {
  command = apply

  plan_options {
    target = [terraform_data.immutable]
  }
}

run "the_same_again_changes_nothing" {
  command = plan

  plan_options {
    target = [terraform_data.immutable]
  }

  assert {
    condition     = terraform_data.immutable.output.data_location == "EU"
    error_message = "The first apply's places are remembered."
  }
}

run "another_data_location_is_refused" {
  command = plan

  plan_options {
    target = [terraform_data.immutable]
  }

  variables {
    places = {
      primary_region = "europe-west1"
      regions        = { europe-west1 = {} }
      data_location  = "US"
    }
  }

  expect_failures = [terraform_data.immutable]
}

run "a_key_of_your_own_after_the_fact_is_refused" {
  command = plan

  plan_options {
    target = [terraform_data.immutable]
  }

  variables {
    options = { customer_managed_key = {} }
  }

  expect_failures = [terraform_data.immutable]
}
