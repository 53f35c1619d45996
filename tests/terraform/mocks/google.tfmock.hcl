# What the provider would compute, in the form in which the real one has it: under mocks it still checks values.

mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    uri = "https://service-123456789012.europe-west1.run.app"
  }
}

mock_resource "google_kms_crypto_key" {
  defaults = {
    id = "projects/demo-project/locations/europe/keyRings/tallygate/cryptoKeys/tallygate-data"
  }
}

mock_resource "google_kms_key_ring" {
  defaults = {
    id = "projects/demo-project/locations/europe/keyRings/tallygate"
  }
}

mock_resource "google_logging_project_bucket_config" {
  defaults = {
    id = "projects/demo-project/locations/eu/buckets/tallygate"
  }
}

mock_resource "google_logging_project_sink" {
  defaults = {
    writer_identity = "serviceAccount:service-123456789012@gcp-sa-logging.iam.gserviceaccount.com"
  }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = {
    id = "projects/demo-project/notificationChannels/1"
  }
}

mock_resource "google_service_account" {
  defaults = {
    email  = "some-account@demo-project.iam.gserviceaccount.com"
    id     = "projects/demo-project/serviceAccounts/some-account@demo-project.iam.gserviceaccount.com"
    member = "serviceAccount:some-account@demo-project.iam.gserviceaccount.com"
    name   = "projects/demo-project/serviceAccounts/some-account@demo-project.iam.gserviceaccount.com"
  }
}
