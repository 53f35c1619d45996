variable "artifact_readers" {
  description = "IAM members that may read releases: the applier of the next environment, which copies them; by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether state, releases and secrets refuse to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "deny_secret_reads" {
  description = "Whether a deny policy keeps the pipeline from reading secrets whatever it is granted; making one needs roles/iam.denyAdmin on the organisation."
  type        = bool
  default     = true
  nullable    = false
}

variable "environment" {
  description = "Name of the environment, which is also that of the pipeline's protected environment: dev, staging or prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment must have at most 20 small letters, digits and dashes."
  }
}

variable "optional_apis" {
  description = "APIs of options that the environment wants: aiplatform, billingbudgets, cloudkms, dns."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(setsubtract(var.optional_apis, ["aiplatform", "billingbudgets", "cloudkms", "dns"])) == 0
    error_message = "optional_apis may hold aiplatform, billingbudgets, cloudkms and dns."
  }
}

variable "places" {
  description = "Where state and secrets are kept (regions; no secret regions: Google chooses), and where releases are, for example EU."
  type = object({
    artifacts_location = string
    state_location     = string
    secret_regions     = optional(set(string), [])
  })

  validation {
    condition     = can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.places.artifacts_location)) && can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.places.state_location))
    error_message = "A place must be EU, US or a region, for example europe-west1."
  }
}

variable "project_id" {
  description = "Project of the environment; it exists already, with billing."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (6 to 30 small letters, digits and dashes), not its name or number."
  }
}

variable "repository" {
  description = "The GitHub repository whose workflows plan and apply, by its numbers, which nobody can take over by registering a name anew."
  type = object({
    id       = string
    owner_id = string
  })

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.repository.id)) && can(regex("^[1-9][0-9]*$", var.repository.owner_id))
    error_message = "repository.id and owner_id must be numbers: gh api repos/OWNER/NAME --jq '.id, .owner.id' prints them."
  }
}

variable "secrets" {
  description = "Ids of the secrets: Stripe's two, one key per provider of the catalogue, and cloudevents-token with the option cloudevents."
  type        = set(string)
  default     = ["anthropic-api-key", "openai-api-key", "stripe-api-key", "stripe-webhook-secret"]
  nullable    = false

  validation {
    condition     = length(setsubtract(["stripe-api-key", "stripe-webhook-secret"], var.secrets)) == 0
    error_message = "secrets must hold stripe-api-key and stripe-webhook-secret: the functions read them."
  }
}
