# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id         = "demo-project"
  security_policy_id = "projects/demo-project/global/securityPolicies/tallygate"
  webhook            = { service = "tallygate-stripe-webhook", region = "europe-west1" }
  sites = {
    shared = { hosts = ["llm.example.com"], service = "tallygate-proxy", regions = ["europe-west1", "europe-west4"] }
    acme   = { hosts = ["acme.example.com"], service = "tallygate-proxy-acme", regions = ["europe-west1"] }
  }
}

run "unlisted_paths_and_hosts_are_404_at_the_edge" {
  command = plan

  assert {
    condition = alltrue([
      for matcher in google_compute_url_map.main.path_matcher :
      matcher.default_route_action[0].fault_injection_policy[0].abort[0].http_status == 404 &&
      matcher.default_route_action[0].fault_injection_policy[0].abort[0].percentage == 100
    ])
    error_message = "What the path list lacks is 404, always."
  }

  assert {
    condition     = google_compute_url_map.main.default_route_action[0].fault_injection_policy[0].abort[0].http_status == 404
    error_message = "An unknown host is 404."
  }
}

run "the_path_list_goes_to_the_proxies_and_the_webhook_to_its_function" {
  command = plan

  assert {
    condition     = contains(output.proxy_paths, "/v1/chat/completions") && contains(output.proxy_paths, "/chat/completions") && !contains(output.proxy_paths, "/v1/health")
    error_message = "Versioned paths are served with and without /v1, others as they are."
  }

  assert {
    condition = {
      for matcher in google_compute_url_map.main.path_matcher : matcher.name => length(matcher.path_rule)
    } == { shared = 2, acme = 1 }
    error_message = "Stripe's webhook is on the shared hosts only."
  }
}

run "a_host_has_a_certificate_of_its_own" {
  command = plan

  assert {
    condition     = toset([for entry in google_certificate_manager_certificate_map_entry.host : entry.hostname]) == toset(["acme.example.com", "llm.example.com"])
    error_message = "One map entry per host: adding one touches no other."
  }

  assert {
    condition     = google_compute_ssl_policy.main.min_tls_version == "TLS_1_2"
    error_message = "TLS 1.2 at least."
  }
}

run "every_region_of_a_site_serves_it" {
  command = plan

  assert {
    condition     = toset(keys(google_compute_region_network_endpoint_group.site)) == toset(["shared/europe-west1", "shared/europe-west4", "acme/europe-west1"])
    error_message = "One endpoint group per site and region."
  }
}

run "a_zone_holds_its_own_hosts_only" {
  command = plan

  variables {
    dns_zone = { dns_name = "llm.example.com." }
  }

  assert {
    condition     = keys(google_dns_record_set.address) == ["llm.example.com"]
    error_message = "acme.example.com is not in the zone llm.example.com."
  }
}

run "a_zone_without_its_dot_is_refused" {
  command = plan

  variables {
    dns_zone = { dns_name = "llm.example.com" }
  }

  expect_failures = [var.dns_zone]
}

run "a_site_without_a_host_is_refused" {
  command = plan

  variables {
    sites = { shared = { hosts = [], service = "tallygate-proxy", regions = ["europe-west1"] } }
  }

  expect_failures = [var.sites]
}

run "a_url_is_no_host" {
  command = plan

  variables {
    sites = { shared = { hosts = ["https://llm.example.com"], service = "tallygate-proxy", regions = ["europe-west1"] } }
  }

  expect_failures = [var.sites]
}

run "a_host_of_two_sites_is_refused" {
  command = plan

  variables {
    sites = {
      shared = { hosts = ["llm.example.com"], service = "tallygate-proxy", regions = ["europe-west1"] }
      acme   = { hosts = ["llm.example.com"], service = "tallygate-proxy-acme", regions = ["europe-west1"] }
    }
  }

  expect_failures = [var.sites]
}

run "without_a_shared_site_there_is_no_place_for_the_webhook" {
  command = plan

  variables {
    sites = { acme = { hosts = ["acme.example.com"], service = "tallygate-proxy-acme", regions = ["europe-west1"] } }
  }

  expect_failures = [var.sites]
}

run "more_than_every_request_can_not_be_logged" {
  command = plan

  variables {
    access_log_sample_rate = 2
  }

  expect_failures = [var.access_log_sample_rate]
}
