# What follows from this module's inputs.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id = "demo-project"
  bucket     = "demo-project-tallygate-configuration"
  location   = "eu"
  files      = { "catalogue.json" = "{}", "plans.json" = "{}" }
}

run "files_are_versioned_and_never_public" {
  command = plan

  assert {
    condition     = google_storage_bucket.main.versioning[0].enabled && google_storage_bucket.main.public_access_prevention == "enforced"
    error_message = "An earlier configuration can be brought back, and none is public."
  }

  assert {
    condition     = !google_storage_bucket.main.force_destroy
    error_message = "The default is what production should be."
  }

  assert {
    condition     = toset(keys(google_storage_bucket_object.file)) == toset(["catalogue.json", "plans.json"])
    error_message = "A file keeps its name when its content changes, so that it is changed in place."
  }
}

run "another_content_is_another_hash" {
  command = plan

  variables {
    files = { "catalogue.json" = "{ }", "plans.json" = "{}" }
  }

  assert {
    condition     = output.sha256 != sha256(jsonencode({ "catalogue.json" = "{}", "plans.json" = "{}" }))
    error_message = "Revisions roll when a file changes."
  }
}
