environment = "prod"
project_id  = "example-tallygate-prod"

places = {
  artifacts_location = "EU"
  state_location     = "EU"
}

# gh api repos/OWNER/NAME --jq '.id, .owner.id'
repository = {
  id       = "123456789"
  owner_id = "987654321"
}
