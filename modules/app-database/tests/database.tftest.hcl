# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id = "demo-project"
  location   = "eur3"
}

run "the_database_can_be_put_back_to_any_minute_of_a_week" {
  command = plan

  assert {
    condition     = google_firestore_database.main.point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    error_message = "Point-in-time recovery is on."
  }

  assert {
    condition     = google_firestore_database.main.delete_protection_state == "DELETE_PROTECTION_ENABLED" && google_firestore_database.main.deletion_policy == "DELETE"
    error_message = "The database is protected; where it is not, destroy means destroy."
  }

  assert {
    condition     = google_firestore_backup_schedule.daily.retention == "604800s" && google_firestore_backup_schedule.weekly.retention == "4838400s"
    error_message = "Seven daily and eight weekly backups."
  }
}

run "what_expires_is_deleted_by_firestore" {
  command = plan

  assert {
    condition     = alltrue([for field in google_firestore_field.expiry : field.field == "delete_at" && length(field.ttl_config) == 1])
    error_message = "Expiry is a TTL policy on delete_at."
  }
}

run "a_place_that_firestore_lacks_is_refused" {
  command = plan

  variables {
    location = "europe-north2"
  }

  expect_failures = [var.location]
}

run "bigquerys_name_of_europe_is_refused" {
  command = plan

  variables {
    location = "EU"
  }

  expect_failures = [var.location]
}

run "the_default_databases_name_is_refused" {
  command = plan

  variables {
    name = "(default)"
  }

  expect_failures = [var.name]
}

run "a_backup_kept_for_a_year_is_refused" {
  command = plan

  variables {
    backups = { weekly_kept_weeks = 52 }
  }

  expect_failures = [var.backups]
}
