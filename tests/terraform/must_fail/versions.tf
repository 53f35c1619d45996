# Each file breaks the rule of its name, and no other: every resource in it must be refused by that rule.

terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 8.0, < 9"
    }
  }
}

provider "google" {
  project = "demo-project"
}

locals {
  labels  = { app = "tallygate", environment = "prod" }
  account = "some@demo-project.iam.gserviceaccount.com"
  image   = "europe-docker.pkg.dev/demo-project/tallygate/proxy@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
