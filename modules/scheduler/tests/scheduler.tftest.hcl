# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id    = "demo-project"
  region        = "europe-west1"
  invoker_email = "tallygate-scheduler@demo-project.iam.gserviceaccount.com"
  targets = {
    stripe_sync      = "https://sync.example.com"
    usage_reconciler = "https://reconciler.example.com"
    usage_reporter   = "https://reporter.example.com"
  }
}

run "each_job_calls_its_function_as_the_scheduler" {
  command = plan

  assert {
    condition     = length(google_cloud_scheduler_job.main) == length(local.jobs)
    error_message = "Every job of jobs.json is there."
  }

  assert {
    condition = alltrue([
      for job in google_cloud_scheduler_job.main : job.http_target[0].oidc_token[0].audience == job.http_target[0].uri && job.time_zone == "Etc/UTC"
    ])
    error_message = "A job's token is for the URL that it calls; hours are UTC."
  }

  assert {
    condition     = jsondecode(base64decode(google_cloud_scheduler_job.main["usage-reporter-hourly"].http_target[0].body)) == { depth = "hourly" }
    error_message = "The body is that of jobs.json."
  }
}

run "a_job_without_a_target_is_refused" {
  command = plan

  variables {
    targets = {}
  }

  expect_failures = [var.targets]
}

run "a_wait_longer_than_the_scheduler_can_is_refused" {
  command = plan

  variables {
    timeout_seconds = 3600
  }

  expect_failures = [var.timeout_seconds]
}
