# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id            = "demo-project"
  region                = "europe-west1"
  exposure              = "public"
  image                 = "europe-docker.pkg.dev/demo-project/tallygate/proxy@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  service_account_email = "tallygate-proxy@demo-project.iam.gserviceaccount.com"
  configuration = {
    bucket    = "demo-project-configuration"
    catalogue = "catalogue.json"
    plans     = "plans.json"
    sha256    = "0"
  }
}

run "behind_the_load_balancer_there_is_no_other_way_in" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.main.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && google_cloud_run_v2_service.main.default_uri_disabled
    error_message = "A public proxy must be reachable through the load balancer only."
  }

  assert {
    condition     = google_cloud_run_v2_service.main.deletion_protection
    error_message = "The default is what production should be."
  }

  assert {
    condition     = google_cloud_run_v2_service.main.template[0].containers[0].resources[0].cpu_idle == true
    error_message = "cpu_idle must be written: unset means that the CPU is always billed."
  }
}

run "private_means_that_iam_decides" {
  command = plan

  variables {
    exposure = "private"
    invokers = { team = "group:team@example.com" }
  }

  assert {
    condition     = !google_cloud_run_v2_service.main.invoker_iam_disabled && !google_cloud_run_v2_service.main.default_uri_disabled
    error_message = "A private proxy has its own URL, and IAM checks each call."
  }

  assert {
    condition     = google_cloud_run_v2_service_iam_member.invoker["team"].role == "roles/run.invoker"
    error_message = "Invokers get the right to call and no other."
  }
}

run "a_profile_can_be_changed_in_parts" {
  command = plan

  variables {
    scaling = { profile = "latency", max_instances = 5 }
  }

  assert {
    condition     = output.scaling.min_instances == 3 && output.scaling.max_instances == 5
    error_message = "What is not overridden is the profile's."
  }

  assert {
    condition     = google_cloud_run_v2_service.main.template[0].containers[0].resources[0].cpu_idle == false
    error_message = "The profile latency keeps the CPU on."
  }
}

run "a_tag_is_refused" {
  command = plan

  variables {
    image = "europe-docker.pkg.dev/demo-project/tallygate/proxy:latest"
  }

  expect_failures = [var.image]
}

run "concurrency_0_is_refused" {
  command = plan

  variables {
    scaling = { concurrency = 0 }
  }

  expect_failures = [var.scaling]
}

run "max_below_min_is_refused" {
  command = plan

  variables {
    scaling = { profile = "latency", max_instances = 2 }
  }

  expect_failures = [var.scaling]
}

run "an_unknown_profile_is_refused" {
  command = plan

  variables {
    scaling = { profile = "huge" }
  }

  expect_failures = [var.scaling]
}

run "half_a_cpu_is_refused" {
  command = plan

  variables {
    scaling = { cpu = "0.5" }
  }

  expect_failures = [var.scaling]
}

run "memory_without_a_unit_is_refused" {
  command = plan

  variables {
    scaling = { memory = "2048" }
  }

  expect_failures = [var.scaling]
}

run "a_secret_without_version_number_is_refused" {
  command = plan

  variables {
    secrets = { OPENAI_API_KEY = { secret = "openai-api-key", version = "latest" } }
  }

  expect_failures = [var.secrets]
}

run "invokers_of_a_public_service_are_refused" {
  command = plan

  variables {
    invokers = { team = "group:team@example.com" }
  }

  expect_failures = [var.invokers]
}

run "all_users_are_never_invokers" {
  command = plan

  variables {
    exposure = "private"
    invokers = { everybody = "allUsers" }
  }

  expect_failures = [var.invokers]
}

run "an_unknown_exposure_is_refused" {
  command = plan

  variables {
    exposure = "internal"
  }

  expect_failures = [var.exposure]
}

run "a_name_that_the_sinks_do_not_know_is_refused" {
  command = plan

  variables {
    name = "gateway"
  }

  expect_failures = [var.name]
}

run "a_request_longer_than_cloud_run_allows_is_refused" {
  command = plan

  variables {
    request_timeout_seconds = 7200
  }

  expect_failures = [var.request_timeout_seconds]
}
