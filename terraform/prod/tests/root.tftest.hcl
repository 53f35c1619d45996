# The environment as it is committed.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

run "the_committed_values_make_a_gateway" {
  command = plan

  assert {
    condition     = startswith(output.gateway.webhook_url, "https://") || var.exposure.mode == "private"
    error_message = "The environment has a webhook for Stripe."
  }
}

run "a_misspelt_input_is_refused" {
  command = plan

  variables {
    scaling = { profile = "standard", max_instance = 3 }
  }

  expect_failures = [var.scaling]
}

run "a_misspelt_part_of_a_channel_is_refused" {
  command = plan

  variables {
    alert_channels = { team = { type = "email", labels = { email_address = "team@example.com" }, page = false } }
  }

  expect_failures = [var.alert_channels]
}
