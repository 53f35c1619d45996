# Catalogues and plans that are refused at plan time. A run changes one thing of a good model or a good plan; its name
# says what is wrong.

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

  # A model and a plan that are right: not inputs of the stack, but what the runs change.
  model = {
    provider    = "openai"
    mode        = "chat"
    price_class = "small"
    fallbacks   = []
    api_key_env = "OPENAI_API_KEY"
    prices = [{
      price_version      = "v1"
      effective_from     = "2025-01-01T00:00:00Z"
      pico_usd_per_token = { input = 1, cached_input = 1, cache_write = 1, output = 1 }
    }]
  }
  plan = {
    charge_basis = "none"
    models       = ["m"]
    quotas       = { rpm = 10, tpm = 10, max_parallel = 1 }
  }
  token_prices_cents = { llm_input_tokens = "1", llm_cached_input_tokens = "1", llm_cache_write_tokens = "1", llm_output_tokens = "1" }
}

run "a_catalogue_that_is_no_json" {
  command = plan

  variables {
    catalogue = "{"
  }

  expect_failures = [var.catalogue]
}

run "an_empty_catalogue" {
  command = plan

  variables {
    catalogue = jsonencode({ models = {} })
  }

  expect_failures = [var.catalogue]
}

run "a_model_without_a_price" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { prices = [] }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "a_price_without_a_class" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { prices = [{ pico_usd_per_token = { input = 1, output = 1 } }] }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "a_price_that_is_no_whole_number" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { prices = [{ pico_usd_per_token = { input = 0.5, cached_input = 1, cache_write = 1, output = 1 } }] }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "a_model_without_a_key" {
  command = plan

  variables {
    catalogue       = jsonencode({ models = { m = merge(var.model, { api_key_env = "" }) } })
    plans           = jsonencode({ plans = { p = var.plan } })
    secret_versions = { "" = "1" }
  }

  expect_failures = [var.catalogue]
}

run "a_model_of_vertex_ai_that_may_not_be_called" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { provider = "vertex_ai" }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "a_fallback_that_the_catalogue_lacks" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { fallbacks = ["nowhere"] }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "a_fallback_of_another_mode" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { fallbacks = ["e"] }), e = merge(var.model, { mode = "embedding" }) } })
    plans     = jsonencode({ plans = { p = var.plan } })
  }

  expect_failures = [var.catalogue]
}

run "plans_that_are_no_json" {
  command = plan

  variables {
    plans = "no"
  }

  expect_failures = [var.plans]
}

run "both_charge_bases_in_one_plan" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "cost", markup_percent = 20, token_prices_cents = var.token_prices_cents }) } })
  }

  expect_failures = [var.plans]
}

run "a_charge_basis_without_its_prices" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "tokens" }) } })
  }

  expect_failures = [var.plans]
}

run "an_unknown_charge_basis" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "requests" }) } })
  }

  expect_failures = [var.plans]
}

run "a_plan_with_a_model_that_the_catalogue_lacks" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { models = ["other"] }) } })
  }

  expect_failures = [var.plans]
}

run "a_plan_with_a_price_class_that_no_model_has" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { models = ["m", "class:large"] }) } })
  }

  expect_failures = [var.plans]
}

run "every_model_under_tokens_where_there_are_two_price_classes" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model, n = merge(var.model, { price_class = "large" }) } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "tokens", token_prices_cents = var.token_prices_cents, models = ["*"] }) } })
  }

  expect_failures = [var.plans]
}

run "tokens_of_two_price_classes" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model, n = merge(var.model, { price_class = "large" }) } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "tokens", token_prices_cents = var.token_prices_cents, models = ["m", "n"] }) } })
  }

  expect_failures = [var.plans]
}

run "a_fallback_to_another_price_class_under_tokens" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = merge(var.model, { fallbacks = ["n"] }), n = merge(var.model, { price_class = "large" }) } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "tokens", token_prices_cents = var.token_prices_cents }) } })
  }

  expect_failures = [var.plans]
}

run "a_plan_without_quotas" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = { for field, value in var.plan : field => value if field != "quotas" } } })
  }

  expect_failures = [var.plans]
}

run "what_the_runs_change_is_right" {
  command = plan

  variables {
    catalogue = jsonencode({ models = { m = var.model } })
    plans     = jsonencode({ plans = { p = merge(var.plan, { charge_basis = "tokens", token_prices_cents = var.token_prices_cents }) } })
  }
}
