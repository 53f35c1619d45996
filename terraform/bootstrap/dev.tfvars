environment = "dev"
project_id  = "example-tallygate-dev"

places = {
  artifacts_location = "EU"
  state_location     = "EU"
}

# gh api repos/OWNER/NAME --jq '.id, .owner.id'
repository = {
  id       = "123456789"
  owner_id = "987654321"
}

# Releases are copied to staging from here.
artifact_readers = { staging = "serviceAccount:tallygate-applier@example-tallygate-staging.iam.gserviceaccount.com" }

deletion_protection = false
