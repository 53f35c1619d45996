# What is refused at plan time. A run overrides the good values with one bad one; its name says what is wrong.

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

run "a_place_of_vertex_ai_that_is_none" {
  command = plan

  variables {
    options = { vertex_ai = { location = "Europe" } }
  }

  expect_failures = [var.options]
}

run "a_token_in_the_clear" {
  command = plan

  variables {
    options = { cloudevents = { url = "http://usage.example.com/events" } }
  }

  expect_failures = [var.options]
}

run "public_exposure_without_a_domain" {
  command = plan

  variables {
    domains = {}
  }

  expect_failures = [var.domains]
}

run "a_domain_twice" {
  command = plan

  variables {
    domains = { hosts = ["llm.example.com", "llm.example.com"] }
  }

  expect_failures = [var.domains]
}

run "a_domain_with_private_exposure" {
  command = plan

  variables {
    exposure = { mode = "private" }
  }

  expect_failures = [var.domains]
}

run "an_exposure_in_between" {
  command = plan

  variables {
    exposure = { mode = "internal" }
  }

  expect_failures = [var.exposure]
}

run "an_edge_limit_below_the_largest_plan" {
  command = plan

  variables {
    exposure = { mode = "public", requests_per_minute_per_address = 5999 }
  }

  expect_failures = [var.exposure]
}

run "a_tag_instead_of_a_digest" {
  command = plan

  variables {
    image_digest = "v1.2.3"
  }

  expect_failures = [var.image_digest]
}

run "concurrency_0" {
  command = plan

  variables {
    scaling = { concurrency = 0 }
  }

  expect_failures = [var.scaling]
}

run "max_instances_below_min" {
  command = plan

  variables {
    scaling = { min_instances = 5, max_instances = 2 }
  }

  expect_failures = [var.scaling]
}

run "an_unknown_profile" {
  command = plan

  variables {
    scaling = { profile = "huge" }
  }

  expect_failures = [var.scaling]
}

run "two_regions_without_a_minimum_instance" {
  command = plan

  variables {
    places  = { primary_region = "europe-west1", regions = { europe-west1 = {}, europe-west4 = {} }, data_location = "EU" }
    scaling = { profile = "dev" }
  }

  expect_failures = [var.scaling]
}

run "two_regions_without_a_minimum_instance_of_a_dedicated_service" {
  command = plan

  variables {
    places             = { primary_region = "europe-west1", regions = { europe-west1 = {}, europe-west4 = {} }, data_location = "EU" }
    dedicated_services = { acme = { hosts = ["acme.example.com"], scaling = { profile = "dev" } } }
  }

  expect_failures = [var.dedicated_services]
}

run "a_dedicated_service_without_a_host" {
  command = plan

  variables {
    dedicated_services = { acme = {} }
  }

  expect_failures = [var.dedicated_services]
}

run "a_dedicated_service_of_no_tenant" {
  command = plan

  variables {
    dedicated_services = { ACME = { hosts = ["acme.example.com"] } }
  }

  expect_failures = [var.dedicated_services]
}

run "a_primary_region_that_is_none_of_the_regions" {
  command = plan

  variables {
    places = { primary_region = "europe-west4", regions = { europe-west1 = {} }, data_location = "EU" }
  }

  expect_failures = [var.places]
}

run "a_zone_as_data_location" {
  command = plan

  variables {
    places = { primary_region = "europe-west1", regions = { europe-west1 = {} }, data_location = "europe-west1-b", database_location = "eur3" }
  }

  expect_failures = [var.places]
}

run "a_place_that_firestore_lacks" {
  command = plan

  variables {
    places = { primary_region = "europe-west1", regions = { europe-west1 = {} }, data_location = "europe-north2" }
  }

  expect_failures = [var.places]
}

run "a_fixed_address_in_one_region_of_two" {
  command = plan

  variables {
    places = { primary_region = "europe-west1", regions = { europe-west1 = { egress_range = "10.8.0.0/26" }, europe-west4 = {} }, data_location = "EU" }
  }

  expect_failures = [var.places]
}

run "a_projects_number" {
  command = plan

  variables {
    project_id = "123456789012"
  }

  expect_failures = [var.project_id]
}

run "an_environments_name_that_is_no_label" {
  command = plan

  variables {
    environment = "Production"
  }

  expect_failures = [var.environment]
}

run "a_key_of_a_provider_that_has_no_version" {
  command = plan

  variables {
    secret_versions = { openai-api-key = "1" }
  }

  expect_failures = [var.secret_versions]
}

run "latest_as_a_secrets_version" {
  command = plan

  variables {
    secret_versions = { anthropic-api-key = "latest", openai-api-key = "1" }
  }

  expect_failures = [var.secret_versions]
}

run "nobody_to_page" {
  command = plan

  variables {
    alert_channels = { team = { type = "email", labels = { email_address = "team@example.com" }, pages = false } }
  }

  expect_failures = [var.alert_channels]
}

run "a_channel_that_holds_a_secret" {
  command = plan

  variables {
    alert_channels = { team = { type = "pagerduty", labels = { service_key = "x" } } }
  }

  expect_failures = [var.alert_channels]
}

run "an_email_channel_without_an_address" {
  command = plan

  variables {
    alert_channels = { team = { type = "email", labels = { address = "team@example.com" } } }
  }

  expect_failures = [var.alert_channels]
}

run "a_draft_held_for_longer_than_stripe_keeps_it" {
  command = plan

  variables {
    invoicing = { draft_hold_hours = 73 }
  }

  expect_failures = [var.invoicing]
}

run "part_of_a_cent" {
  command = plan

  variables {
    invoicing = { one_off_minimum_cents = 0.5 }
  }

  expect_failures = [var.invoicing]
}
