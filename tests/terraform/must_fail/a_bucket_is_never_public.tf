resource "google_storage_bucket" "a_bucket_is_never_public" {
  project                     = "demo-project"
  name                        = "demo-project-archive"
  location                    = "EU"
  labels                      = local.labels
  force_destroy               = false
  public_access_prevention    = "inherited"
  uniform_bucket_level_access = true
}
