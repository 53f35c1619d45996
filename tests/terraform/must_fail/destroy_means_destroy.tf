resource "google_firestore_database" "destroy_means_destroy" {
  project                 = "demo-project"
  name                    = "tallygate"
  location_id             = "eur3"
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = "DELETE_PROTECTION_ENABLED"
  deletion_policy         = "ABANDON"
}
