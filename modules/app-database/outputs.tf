output "name" {
  description = "Id of the database."
  value       = google_firestore_database.main.name
}

output "setting" {
  description = "The database as the setting TALLYGATE_APP_DATABASE names it."
  value       = "firestore:${google_firestore_database.main.name}"
}
