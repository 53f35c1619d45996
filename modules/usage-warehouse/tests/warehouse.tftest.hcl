# The rules of this module's inputs, and what follows from them. Nothing is created: the provider is mocked.

mock_provider "google" {
  # A mocked value must look like the real one where the real provider checks it.
  mock_resource "google_logging_project_sink" {
    defaults = {
      writer_identity = "serviceAccount:service-1@gcp-sa-logging.iam.gserviceaccount.com"
    }
  }
}

variables {
  project_id    = "demo-project"
  data_location = "EU"
}

run "defaults_are_what_production_should_be" {
  command = plan

  assert {
    condition     = alltrue([for table in google_bigquery_table.ledger : table.deletion_protection])
    error_message = "The ledger's tables must be protected against deletion unless the caller says otherwise."
  }

  assert {
    condition     = google_bigquery_dataset.ledger.default_partition_expiration_ms == null
    error_message = "The ledger never expires."
  }

  assert {
    condition     = google_bigquery_dataset.raw.default_partition_expiration_ms == 34560000000
    error_message = "Raw lines are kept for 400 days."
  }

  assert {
    condition     = length(google_bigquery_dataset_iam_member.ledger_writer) == 0
    error_message = "Nobody writes the ledger unless the caller says so."
  }
}

run "development_may_be_destroyed_with_its_data" {
  command = plan

  variables {
    deletion_protection = false
  }

  assert {
    condition     = google_bigquery_dataset.ledger.delete_contents_on_destroy
    error_message = "Without deletion protection a destroy takes the data along."
  }
}

run "views_read_the_datasets_that_the_caller_names" {
  command = plan

  variables {
    datasets = { raw = "lines", ledger = "money" }
  }

  assert {
    condition     = strcontains(local.view_queries["usage_clean"], "`lines.run_googleapis_com_stdout`")
    error_message = "usage_clean must read the raw dataset by its name."
  }

  assert {
    condition     = strcontains(local.view_queries["usage_hours"], "`money.usage_events`")
    error_message = "usage_hours must read the ledger by its name."
  }
}

run "one_dataset_for_both_is_refused" {
  command = plan

  variables {
    datasets = { raw = "usage", ledger = "usage" }
  }

  expect_failures = [var.datasets]
}

run "a_dataset_id_with_a_dash_is_refused" {
  command = plan

  variables {
    datasets = { raw = "usage-raw" }
  }

  expect_failures = [var.datasets]
}

run "a_zone_is_no_data_location" {
  command = plan

  variables {
    data_location = "europe-west1-b"
  }

  expect_failures = [var.data_location]
}

run "lines_must_outlive_the_deepest_look_back" {
  command = plan

  variables {
    raw_retention_days = 35
  }

  expect_failures = [var.raw_retention_days]
}
