# The app database: tenants, hashed keys, live spend, the Stripe inbox.

locals {
  _places = jsondecode(file("${path.module}/places.json"))

  _day_seconds = 24 * 60 * 60
}

resource "google_firestore_database" "main" {
  project                           = var.project_id
  name                              = var.name
  location_id                       = var.location
  type                              = "FIRESTORE_NATIVE"
  database_edition                  = "STANDARD"
  concurrency_mode                  = "PESSIMISTIC"
  app_engine_integration_mode       = "DISABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"

  # Else Terraform would forget the database at destroy and leave it where it is.
  deletion_policy = "DELETE"

  dynamic "cmek_config" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = cmek_config.value
    }
  }
}

resource "google_firestore_field" "expiry" {
  for_each = var.expiring_collections

  project    = var.project_id
  database   = google_firestore_database.main.name
  collection = each.key
  field      = "delete_at"

  ttl_config {}

  # A field that only expires documents needs no index, and one over timestamps that grow would slow writes down.
  index_config {}
}

resource "google_firestore_backup_schedule" "daily" {
  project   = var.project_id
  database  = google_firestore_database.main.name
  retention = "${var.backups.daily_kept_days * local._day_seconds}s"

  daily_recurrence {}
}

resource "google_firestore_backup_schedule" "weekly" {
  project   = var.project_id
  database  = google_firestore_database.main.name
  retention = "${var.backups.weekly_kept_weeks * 7 * local._day_seconds}s"

  weekly_recurrence {
    day = "SUNDAY"
  }
}
