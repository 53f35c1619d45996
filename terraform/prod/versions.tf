terraform {
  required_version = "~> 1.11"

  # Bucket and prefix are values of the environment: terraform init -backend-config=backend.hcl
  backend "gcs" {}

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 8.0"
    }
  }
}
