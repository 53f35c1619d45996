# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id            = "demo-project"
  region                = "europe-west1"
  name                  = "tallygate-usage-reporter"
  entry_point           = "usage_reporter"
  service_account_email = "tallygate-usage-reporter@demo-project.iam.gserviceaccount.com"
  archive = {
    bucket = "demo-project-functions"
    object = "functions-000000000000.zip"
    sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  }
  build = {
    repository      = "europe-west1-docker.pkg.dev/demo-project/tallygate-functions"
    service_account = "projects/demo-project/serviceAccounts/tallygate-build@demo-project.iam.gserviceaccount.com"
  }
}

run "a_job_is_called_from_within_the_project_only" {
  command = plan

  variables {
    invokers = { scheduler = "serviceAccount:tallygate-scheduler@demo-project.iam.gserviceaccount.com" }
  }

  assert {
    condition     = google_cloud_run_v2_service.main.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY" && !google_cloud_run_v2_service.main.invoker_iam_disabled
    error_message = "A scheduled function has internal ingress, and IAM checks each call."
  }

  assert {
    condition     = !google_cloud_run_v2_service.main.default_uri_disabled
    error_message = "Cloud Scheduler calls the default URL: from elsewhere its call is not internal."
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invoker : grant.role] == ["roles/run.invoker"]
    error_message = "The scheduler gets the right to call and no other."
  }
}

run "a_webhook_is_open_without_a_grant_to_all_users" {
  command = plan

  variables {
    exposure = "open"
  }

  assert {
    condition     = google_cloud_run_v2_service.main.invoker_iam_disabled && length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "Organisations forbid grants to allUsers: the check is switched off instead."
  }
}

run "behind_the_load_balancer_there_is_no_other_way_in" {
  command = plan

  variables {
    exposure = "edge"
  }

  assert {
    condition     = google_cloud_run_v2_service.main.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && google_cloud_run_v2_service.main.default_uri_disabled
    error_message = "Behind the load balancer, the function has no URL of its own."
  }
}

run "an_archive_whose_name_does_not_follow_its_content_is_refused" {
  command = plan

  variables {
    archive = {
      bucket = "demo-project-functions"
      object = "functions.zip"
      sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
    }
  }

  expect_failures = [var.archive]
}

run "an_archive_without_a_hash_is_refused" {
  command = plan

  variables {
    archive = { bucket = "demo-project-functions", object = "functions-.zip", sha256 = "" }
  }

  expect_failures = [var.archive]
}

run "all_users_are_never_invokers" {
  command = plan

  variables {
    invokers = { everybody = "allUsers" }
  }

  expect_failures = [var.invokers]
}

run "a_function_can_not_have_the_proxys_name" {
  command = plan

  variables {
    name = "tallygate-proxy-two"
  }

  expect_failures = [var.name]
}

run "max_below_min_is_refused" {
  command = plan

  variables {
    resources = { min_instances = 3, max_instances = 2 }
  }

  expect_failures = [var.resources]
}

run "concurrency_0_is_refused" {
  command = plan

  variables {
    resources = { concurrency = 0 }
  }

  expect_failures = [var.resources]
}

run "a_call_longer_than_the_scheduler_waits_is_refused" {
  command = plan

  variables {
    timeout_seconds = 3600
  }

  expect_failures = [var.timeout_seconds]
}

run "an_unknown_exposure_is_refused" {
  command = plan

  variables {
    exposure = "public"
  }

  expect_failures = [var.exposure]
}
