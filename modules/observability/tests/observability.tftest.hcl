# The rules of this module's inputs, and what follows from them. Nothing is created: the provider is mocked.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id  = "demo-project"
  environment = "prod"
  location    = "europe-west1"
  models      = ["gpt-4o", "gpt-4o-mini"]
  channels = {
    page   = ["projects/demo-project/notificationChannels/1"]
    ticket = ["projects/demo-project/notificationChannels/2"]
  }
  jobs = {
    often  = { description = "Every five minutes.", function = "usage_reporter", cron = "*/5 * * * *", body = { depth = "recent" } }
    hourly = { description = "Every hour.", function = "usage_reporter", cron = "7 * * * *", body = { depth = "hourly" } }
    daily  = { description = "Every night.", function = "usage_reporter", cron = "37 3 * * *", body = { depth = "daily" } }
    minute = { description = "Every minute.", function = "stripe_sync", cron = "* * * * *" }
  }
}

run "windows_follow_from_schedules" {
  command = plan

  assert {
    condition     = local.job_periods == { often = 300, hourly = 3600, daily = 86400, minute = 60 }
    error_message = "A job's period is read from its schedule."
  }

  assert {
    condition     = { for name, job in local.jobs : name => job.missing_after_seconds } == { often = 900, hourly = 7200, daily = 90000, minute = 600 }
    error_message = "A job is missing after three runs, or one and an hour, and never before ten minutes."
  }

  assert {
    condition     = { for name, job in local.jobs : name => job.severity } == { often = "page", hourly = "ticket", daily = "ticket", minute = "page" }
    error_message = "Jobs that carry what happens now wake someone, the others wait."
  }
}

run "a_window_may_be_chosen" {
  command = plan

  variables {
    missing_after_seconds = { daily = 100000 }
  }

  assert {
    condition     = local.jobs["daily"].missing_after_seconds == 100000
    error_message = "missing_after_seconds takes the place of what follows from the schedule."
  }
}

run "a_window_shorter_than_the_schedule_is_refused" {
  command = plan

  variables {
    missing_after_seconds = { hourly = 1800 }
  }

  expect_failures = [var.missing_after_seconds]
}

run "a_window_of_no_job_is_refused" {
  command = plan

  variables {
    missing_after_seconds = { nightly = 100000 }
  }

  expect_failures = [var.missing_after_seconds]
}

run "a_schedule_without_a_fixed_period_is_refused" {
  command = plan

  variables {
    jobs = {
      monthly = { description = "On the first.", function = "usage_reporter", cron = "0 3 1 * *" }
    }
  }

  expect_failures = [var.jobs]
}

run "a_job_of_an_unknown_function_is_refused" {
  command = plan

  variables {
    jobs = {
      often = { description = "Every five minutes.", function = "usage_counter", cron = "*/5 * * * *" }
    }
  }

  expect_failures = [var.jobs]
}

run "nobody_to_wake_in_prod_is_refused" {
  command = plan

  variables {
    channels = { page = [], ticket = ["projects/demo-project/notificationChannels/2"] }
  }

  expect_failures = [var.channels]
}

run "an_email_is_no_channel" {
  command = plan

  variables {
    channels = { page = ["oncall@example.com"], ticket = ["oncall@example.com"] }
  }

  expect_failures = [var.channels]
}

run "a_url_is_no_host" {
  command = plan

  variables {
    host = "https://api.example.com"
  }

  expect_failures = [var.host]
}

run "no_models_are_refused" {
  command = plan

  variables {
    models = []
  }

  expect_failures = [var.models]
}

run "an_objective_of_everything_is_refused" {
  command = plan

  variables {
    objectives = { availability = 1 }
  }

  expect_failures = [var.objectives]
}

run "freshness_below_the_schedule_is_refused" {
  command = plan

  variables {
    objectives = { freshness_seconds = 60 }
  }

  expect_failures = [var.objectives]
}

run "alerting_on_a_handful_of_requests_is_refused" {
  command = plan

  variables {
    objectives = { minimum_of_requests = 1 }
  }

  expect_failures = [var.objectives]
}

run "a_playbooks_url_with_a_slash_at_its_end_is_refused" {
  command = plan

  variables {
    playbooks_url = "https://example.com/docs/"
  }

  expect_failures = [var.playbooks_url]
}

run "an_environment_in_capitals_is_refused" {
  command = plan

  variables {
    environment = "PROD"
  }

  expect_failures = [var.environment]
}
