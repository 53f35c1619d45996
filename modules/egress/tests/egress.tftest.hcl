# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id  = "demo-project"
  subnetworks = { europe-west1 = "10.8.0.0/26", europe-west4 = "10.8.0.64/26" }
}

run "each_region_has_one_address_and_nothing_comes_in" {
  command = plan

  assert {
    condition     = toset(keys(google_compute_address.region)) == toset(["europe-west1", "europe-west4"])
    error_message = "One fixed address per region."
  }

  assert {
    condition     = google_compute_firewall.no_ingress.direction == "INGRESS" && one(google_compute_firewall.no_ingress.deny[*].protocol) == "all"
    error_message = "The network lets nothing in."
  }
}

run "a_range_too_small_for_scaling_out_is_refused" {
  command = plan

  variables {
    subnetworks = { europe-west1 = "10.8.0.0/28" }
  }

  expect_failures = [var.subnetworks]
}

run "one_range_for_two_regions_is_refused" {
  command = plan

  variables {
    subnetworks = { europe-west1 = "10.8.0.0/26", europe-west4 = "10.8.0.0/26" }
  }

  expect_failures = [var.subnetworks]
}

run "an_address_is_no_range" {
  command = plan

  variables {
    subnetworks = { europe-west1 = "10.8.0.1" }
  }

  expect_failures = [var.subnetworks]
}
