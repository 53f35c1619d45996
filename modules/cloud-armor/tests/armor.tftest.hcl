# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id = "demo-project"
  name       = "tallygate"
  rate_limit = { requests_per_minute = 12000 }
}

run "an_address_is_banned_by_rate_and_everybody_else_passes" {
  command = plan

  assert {
    condition     = toset([for rule in google_compute_security_policy.main.rule : rule.action]) == toset(["allow", "rate_based_ban"])
    error_message = "There are two rules, and none that looks into bodies."
  }

  assert {
    condition     = one([for rule in google_compute_security_policy.main.rule : rule.rate_limit_options[0].ban_threshold[0].count if rule.action == "rate_based_ban"]) == 120000
    error_message = "Who goes on for ten minutes is banned."
  }

  assert {
    condition     = google_compute_security_policy.main.advanced_options_config[0].json_parsing == "STANDARD"
    error_message = "JSON must be parsed, else its punctuation counts as an attack."
  }
}

run "blocked_ranges_come_first" {
  command = plan

  variables {
    blocked_ranges = ["198.51.100.0/24"]
  }

  assert {
    condition     = min([for rule in google_compute_security_policy.main.rule : rule.priority]...) == one([for rule in google_compute_security_policy.main.rule : rule.priority if rule.action == "deny(403)"])
    error_message = "A blocked address must be refused before it is counted."
  }
}

run "a_name_is_no_range" {
  command = plan

  variables {
    blocked_ranges = ["example.com"]
  }

  expect_failures = [var.blocked_ranges]
}

run "eleven_ranges_are_refused" {
  command = plan

  variables {
    blocked_ranges = [for number in range(11) : "198.51.${number}.0/24"]
  }

  expect_failures = [var.blocked_ranges]
}

run "a_limit_that_would_stop_a_single_user_is_refused" {
  command = plan

  variables {
    rate_limit = { requests_per_minute = 10 }
  }

  expect_failures = [var.rate_limit]
}

run "a_ban_of_a_length_that_cloud_armor_lacks_is_refused" {
  command = plan

  variables {
    rate_limit = { requests_per_minute = 600, ban_seconds = 100 }
  }

  expect_failures = [var.rate_limit]
}
