environment = "prod"
project_id  = "example-tallygate-prod"

places = {
  primary_region = "europe-west1"
  regions        = { europe-west1 = {}, europe-west4 = {} }
  data_location  = "EU"
}

exposure = { mode = "public" }
domains  = { hosts = ["llm.example.com"] }
scaling  = { profile = "standard" }

livemode = true

secret_versions = {
  anthropic-api-key = "1"
  openai-api-key    = "1"
}

alert_channels = {
  oncall = { type = "email", labels = { email_address = "gateway-oncall@example.com" } }
  team   = { type = "email", labels = { email_address = "gateway@example.com" }, pages = false }
}

artifacts = {
  functions_bucket = "example-tallygate-prod-functions"
  image_repository = "europe-docker.pkg.dev/example-tallygate-prod/tallygate"
}
