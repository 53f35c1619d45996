# What follows from the inputs that most environments share: exposure, places, release.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id  = "demo-project"
  environment = "dev"
  places = {
    primary_region = "europe-west1"
    regions        = { europe-west1 = {} }
    data_location  = "EU"
  }
  exposure          = { mode = "public" }
  domains           = { hosts = ["llm.example.com"] }
  livemode          = false
  secret_versions   = { anthropic-api-key = "1", openai-api-key = "1" }
  alert_channels    = { team = { type = "email", labels = { email_address = "team@example.com" } } }
  artifacts         = { functions_bucket = "demo-functions", image_repository = "europe-docker.pkg.dev/demo-project/tallygate" }
  image_digest      = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
  functions_archive = { object = "functions-000000000000.zip", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  catalogue         = file("../../terraform/dev/catalogue.json")
  plans             = file("../../terraform/dev/plans.json")
}

run "another_host_leaves_the_main_one_where_it_is" {
  command = plan

  variables {
    domains = { hosts = ["llm.example.com", "api.example.com"] }
  }

  assert {
    condition     = output.webhook_url == "https://llm.example.com/webhooks/stripe" && length(output.dns_records) == 2
    error_message = "The first host of the list is watched and takes the webhook, whatever the others are called."
  }
}

run "a_public_gateway_is_reached_through_the_load_balancer_alone" {
  command = plan

  assert {
    condition     = output.webhook_url == "https://llm.example.com/webhooks/stripe"
    error_message = "Stripe's webhook is on the gateway's own host."
  }

  assert {
    condition     = length(module.load_balancer) == 1 && length(module.cloud_armor) == 1 && output.proxy_uris == null
    error_message = "There is a load balancer with Cloud Armor, and no other way in."
  }

  assert {
    condition     = local.requests_per_minute_per_address == 12000
    error_message = "The edge's limit is twice the largest plan's, so that no tenant is banned within its quota."
  }
}

run "a_private_gateway_has_no_edge" {
  command = plan

  variables {
    exposure = { mode = "private", invokers = { team = "group:team@example.com" } }
    domains  = {}
  }

  assert {
    condition     = length(module.load_balancer) == 0 && length(module.cloud_armor) == 0 && output.dns_records == null
    error_message = "Private exposure has nothing that is billed while idle."
  }
}

run "an_identity_token_is_for_the_hosts_of_its_own_service" {
  command = plan

  variables {
    domains            = { hosts = ["llm.example.com", "gpt.example.com"] }
    dedicated_services = { acme = { hosts = ["acme.example.com"] } }
  }

  assert {
    condition     = local.proxy_audiences["shared/europe-west1"].TALLYGATE_IAM_AUDIENCES == "https://gpt.example.com,https://llm.example.com"
    error_message = "The proxy verifies tokens for the hosts that clients call."
  }

  assert {
    condition     = local.proxy_audiences["acme/europe-west1"].TALLYGATE_IAM_AUDIENCES == "https://acme.example.com"
    error_message = "A token for another service is not taken."
  }
}

run "behind_the_platforms_check_no_audience_is_named" {
  command = plan

  variables {
    exposure           = { mode = "private", invokers = { team = "group:team@example.com" } }
    domains            = {}
    dedicated_services = { acme = {} }
  }

  assert {
    condition     = length(local.proxy_audiences) == 2 && alltrue([for audiences in values(local.proxy_audiences) : length(audiences) == 0])
    error_message = "A token is for the address that Cloud Run gave the service, which no host of ours is."
  }
}

run "every_region_has_the_shared_service_and_every_tenant_of_its_own" {
  command = plan

  variables {
    places = {
      primary_region = "europe-west1"
      regions        = { europe-west1 = {}, europe-west4 = {} }
      data_location  = "EU"
    }
    dedicated_services = { acme = { hosts = ["acme.example.com"] } }
  }

  assert {
    condition     = toset(keys(module.proxy)) == toset(["shared/europe-west1", "shared/europe-west4", "acme/europe-west1", "acme/europe-west4"])
    error_message = "One service per site and region."
  }

  assert {
    condition     = module.proxy["acme/europe-west1"].name == "tallygate-proxy-acme"
    error_message = "A tenant's service is named after it, so that the sinks take its lines."
  }

  assert {
    condition     = toset(local.sites["acme"].hosts) == toset(["acme.example.com"])
    error_message = "A tenant's service has the tenant's hosts."
  }
}

run "places_follow_from_the_data_location" {
  command = plan

  assert {
    condition     = local.database_location == "eur3" && local.key_location == "europe" && local.log_location == "eu"
    error_message = "EU has another name in each product."
  }
}

run "a_region_is_a_place_for_everything" {
  command = plan

  variables {
    places = {
      primary_region = "europe-west3"
      regions        = { europe-west3 = {} }
      data_location  = "europe-west3"
    }
  }

  assert {
    condition     = local.database_location == "europe-west3" && local.key_location == "europe-west3" && local.log_location == "europe-west3"
    error_message = "One region holds everything."
  }
}

run "a_provider_key_is_read_in_the_version_that_is_named" {
  command = plan

  variables {
    secret_versions = { anthropic-api-key = "3", openai-api-key = "1", unused-key = "9" }
  }

  assert {
    condition     = local.provider_keys["ANTHROPIC_API_KEY"] == { secret = "anthropic-api-key", version = "3" }
    error_message = "The secret's id follows from the catalogue's variable, the version from secret_versions."
  }

  assert {
    condition     = toset(keys(google_project_iam_member.proxy_secret)) == toset(["anthropic-api-key", "openai-api-key"])
    error_message = "The proxy may read what the catalogue needs, and nothing else."
  }
}

run "a_right_to_a_secret_names_it" {
  command = plan

  assert {
    condition = alltrue([
      for secret, grant in google_project_iam_member.proxy_secret :
      grant.condition[0].expression == "resource.name == \"projects/123456789012/secrets/${secret}\" || resource.name.startsWith(\"projects/123456789012/secrets/${secret}/versions/\")"
    ])
    error_message = "A right in the project must be held to one secret by its condition."
  }
}
