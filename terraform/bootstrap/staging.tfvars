environment = "staging"
project_id  = "example-tallygate-staging"

places = {
  artifacts_location = "EU"
  state_location     = "EU"
}

# gh api repos/OWNER/NAME --jq '.id, .owner.id'
repository = {
  id       = "123456789"
  owner_id = "987654321"
}

# Releases are copied to prod from here.
artifact_readers = { prod = "serviceAccount:tallygate-applier@example-tallygate-prod.iam.gserviceaccount.com" }
