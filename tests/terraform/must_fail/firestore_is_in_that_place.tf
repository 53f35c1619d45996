resource "google_firestore_database" "firestore_is_in_that_place" {
  project                 = "demo-project"
  name                    = "tallygate"
  location_id             = "EU"
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = "DELETE_PROTECTION_ENABLED"
  deletion_policy         = "DELETE"
}
