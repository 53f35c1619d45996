# The rules of this module's inputs, and what follows from them. Nothing is created: the provider is mocked.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id    = "demo-project"
  data_location = "EU"
  archive       = { bucket = "demo-project-usage-archive" }
  log_bucket    = { location = "eu" }
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

run "the_archive_can_not_be_changed_for_seven_years" {
  command = plan

  assert {
    condition     = google_storage_bucket.archive.retention_policy[0].retention_period == "220924800"
    error_message = "Usage lines are evidence: nobody may delete them for 2557 days."
  }

  assert {
    condition     = google_storage_bucket.archive.public_access_prevention == "enforced"
    error_message = "The archive is never public."
  }
}

run "a_lock_needs_a_retention" {
  command = plan

  variables {
    archive = { bucket = "demo-project-usage-archive", retention_days = 0, locked = true }
  }

  expect_failures = [var.archive]
}

run "logs_are_kept_for_a_week_at_least" {
  command = plan

  variables {
    log_bucket = { location = "eu", retention_days = 3 }
  }

  expect_failures = [var.log_bucket]
}

run "nothing_of_the_gateway_is_kept_twice" {
  command = plan

  assert {
    condition     = google_logging_project_exclusion.default.filter == google_logging_project_sink.log_bucket.filter
    error_message = "What goes to the gateway's own log bucket, and nothing else, is excluded from _Default."
  }
}

run "the_sync_writes_segments_and_what_sealing_writes" {
  command = plan

  variables {
    segment_writers = { stripe_sync = "serviceAccount:sync@demo-project.iam.gserviceaccount.com" }
  }

  assert {
    condition     = [for grant in google_bigquery_table_iam_member.segment_writer : grant.table_id] == ["billing_segments"]
    error_message = "stripe_sync may append billing segments."
  }

  assert {
    condition     = join(" ", sort([for grant in google_bigquery_table_iam_member.seal_writer : grant.table_id])) == "ledger_epochs meter_deliveries meter_deltas rejected_lines"
    error_message = "stripe_sync may write what a seal, its sending and rejected lines need, and nothing else."
  }

  assert {
    condition     = length(google_bigquery_dataset_iam_member.ledger_writer) == 0
    error_message = "A segment writer is no ledger writer."
  }
}

run "a_key_encrypts_all_that_is_kept" {
  command = plan

  variables {
    kms_key_name = "projects/demo-project/locations/europe/keyRings/r/cryptoKeys/k"
  }

  assert {
    condition = alltrue(concat(
      [for table in google_bigquery_table.ledger : one(table.encryption_configuration[*].kms_key_name) == var.kms_key_name],
      [for table in google_bigquery_table.raw : one(table.encryption_configuration[*].kms_key_name) == var.kms_key_name],
      [one(google_storage_bucket.archive.encryption[*].default_kms_key_name) == var.kms_key_name],
      [one(google_logging_project_bucket_config.main.cmek_settings[*].kms_key_name) == var.kms_key_name],
    ))
    error_message = "Tables, archive and logs must all name the key: a table does not inherit it in a plan."
  }
}
