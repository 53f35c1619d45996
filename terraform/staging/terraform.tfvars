environment = "staging"
project_id  = "example-tallygate-staging"

places = {
  primary_region = "europe-west1"
  regions        = { europe-west1 = {} }
  data_location  = "EU"
}

exposure = { mode = "public" }
domains  = { hosts = ["llm.staging.example.com"] }
scaling  = { profile = "standard", max_instances = 5 }

livemode = false

secret_versions = {
  anthropic-api-key = "1"
  openai-api-key    = "1"
}

alert_channels = {
  team = { type = "email", labels = { email_address = "gateway-staging@example.com" } }
}

artifacts = {
  functions_bucket = "example-tallygate-staging-functions"
  image_repository = "europe-docker.pkg.dev/example-tallygate-staging/tallygate"
}

retention = { raw_days = 90, archive_days = 30 }
