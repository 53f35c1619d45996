output "bucket" {
  description = "Name of the bucket, known when its files are written."
  value       = google_storage_bucket.main.name

  depends_on = [google_storage_bucket_object.file, google_storage_bucket_iam_member.reader]
}

output "sha256" {
  description = "Hash of all files' content: it changes when a file does."
  value       = sha256(jsonencode(var.files))
}
