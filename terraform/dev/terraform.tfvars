environment = "dev"
project_id  = "example-tallygate-dev"

# Europe, one region, nothing that is billed while idle but the load balancer.
places = {
  primary_region = "europe-west1"
  regions        = { europe-west1 = {} }
  data_location  = "EU"
}

exposure = { mode = "public" }
domains  = { hosts = ["llm.dev.example.com"] }
scaling  = { profile = "dev" }

livemode = false

secret_versions = {
  anthropic-api-key = "1"
  openai-api-key    = "1"
}

alert_channels = {
  team = { type = "email", labels = { email_address = "gateway-dev@example.com" } }
}

artifacts = {
  functions_bucket = "example-tallygate-dev-functions"
  image_repository = "europe-docker.pkg.dev/example-tallygate-dev/tallygate"
}

# Dev can be destroyed with its data.
deletion_protection = false
retention           = { raw_days = 60, log_days = 14, archive_days = 0 }
