resource "google_compute_region_network_endpoint_group" "a_function_is_a_cloud_run_service" {
  project               = "demo-project"
  name                  = "tallygate-stripe-webhook"
  region                = "europe-west1"
  network_endpoint_type = "SERVERLESS"

  cloud_function {
    function = "tallygate-stripe-webhook"
  }
}
